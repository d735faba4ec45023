"""The state of a replay must fit the journal in every transaction."""

import sys

import pytest
from msgspec.structs import replace

from consumer.errors import ClusterError
from consumer.jobs.ranges import ResolvedRange
from consumer.jobs.replay.state import (
    ReplayState,
    range_states,
    require_state_fits,
    settled_entry,
    settled_keys,
    state_entry,
)
from consumer.kafka.read import OffsetRange
from consumer.kafka.topic_settings import JOBS_MESSAGE_BYTES
from consumer.kafka.types import TopicPartition
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Reason
from consumer.pipeline.replay_decider import ReplayCounts
from consumer.shard.progress import Fingerprint

JOURNAL = "group.jobs"
LONGEST = 2**63 - 1


def state(partitions: int, topic: str = "in") -> ReplayState:
    """Return the state of a new replay of this many partitions."""
    ranges = {
        TopicPartition(topic, number): OffsetRange(0, LONGEST) for number in range(partitions)
    }
    return ReplayState(
        name="name",
        arguments={"from": []},
        target="out",
        started_by="user@host",
        started_at_ms=1,
        updated_at_ms=1,
        from_ms=None,
        to_ms=None,
        ranges=range_states(ResolvedRange(ranges)),
        changelog_ends=[LONGEST],
        known_ids=0,
    )


def size_bytes(one: ReplayState) -> int:
    """Return the size of its record in the journal."""
    return batch_bytes(*state_entry(one), [])


def test_a_state_that_fits_at_the_start_fits_at_the_end() -> None:
    """The required size covers the largest numbers that a later state can have."""
    begun = state(1000)
    places = [
        TopicPartition(offsets_range.topic, offsets_range.partition)
        for offsets_range in begun.ranges
    ]
    ended = replace(
        begun,
        updated_at_ms=LONGEST,
        finished_at_ms=LONGEST,
        ranges=begun.advance_ranges(
            dict.fromkeys(places, LONGEST),
            dict.fromkeys(places, Fingerprint(LONGEST, -LONGEST, 2**32 - 1)),
        ),
        counts=ReplayCounts(LONGEST, LONGEST, LONGEST, invalid=dict.fromkeys(Reason, LONGEST)),
        transactions=LONGEST,
        busy_seconds=sys.float_info.max,
    )
    with pytest.raises(ClusterError, match=r"may take \d+ bytes"):
        require_state_fits(begun, JOURNAL, size_bytes(ended) - 1)
    require_state_fits(begun, JOURNAL, size_bytes(ended) + 1000)


def test_a_replay_of_too_many_partitions_is_refused_at_its_start() -> None:
    """Otherwise every attempt would reach the limit halfway, and the replay would never end."""
    require_state_fits(state(1000), JOURNAL, JOBS_MESSAGE_BYTES)
    with pytest.raises(ClusterError, match="replay name reads 3000 partitions") as refused:
        require_state_fits(state(3000, "t" * 249), JOURNAL, JOBS_MESSAGE_BYTES)
    assert "max.message.bytes of group.jobs is 1048576" in str(refused.value)


def test_the_keys_of_settled_ids() -> None:
    """They are the keys that the transactions of the replay have written."""
    written = {settled_entry("name", number, [])[0] for number in range(3)}
    assert set(settled_keys(replace(state(1), transactions=3))) == written
