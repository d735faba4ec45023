"""Checks the output of the service: published ids, dead letters, and records not handled yet.

It does not use the service's code that decides about records. The expected output follows from the
records that a test has produced.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.cluster import Cluster
    from tests.support.reader import Header, Place, Record
    from tests.support.topics import Names, Topics

READY_TYPE = "fine_tuning.job.checkpoint.ready"
SHARD_HEADER = "checkpoint-ready.shard"
CONFLICT = "conflicting_duplicate"
TOO_LARGE = "too_large"
# The service appends these to the headers of the source record.
DEAD_LETTER_HEADERS = 8
CUT_HEADERS = ("checkpoint-ready.value.sha256", "checkpoint-ready.value.size")
HANDLED_SECONDS = 45.0
# A coordinator that moves to another broker; librdkafka does not call these retriable.
COORDINATOR_MOVES = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}


class IdVerdict(NamedTuple):
    """The ids that were not published exactly once, by the kind of difference."""

    lost: list[str]
    published_twice: list[str]
    unexpected: list[str]

    @property
    def is_exactly_once(self) -> bool:
        """Whether nothing differs."""
        return not any(self)

    def __str__(self) -> str:
        """Return the first ids of each kind."""
        return "; ".join(
            f"{len(ids)} {kind.replace('_', ' ')}: {', '.join(ids[:5])}"
            for kind, ids in self._asdict().items()
            if ids
        )


def compare_ids(expected: Iterable[str], published: Counter[str]) -> IdVerdict:
    """Compare the ids that must be published with how often each was published."""
    wanted = set(expected)
    return IdVerdict(
        lost=sorted(wanted - published.keys()),
        published_twice=sorted(one for one, count in published.items() if count > 1),
        unexpected=sorted(published.keys() - wanted),
    )


class DeadLetter(NamedTuple):
    """A dead letter: the source that its headers name, and the headers of the source."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    key: bytes | None
    value: bytes | None
    source_headers: list[Header]

    def holds(self, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bool:
        """Return whether key, value and headers are those of the source.

        A value that is too large for the topic is cut. Then its first bytes, its digest and its
        size must be those of the source.
        """
        if self.key != key:
            return False
        if self.value == value:
            return self.source_headers == list(headers)
        if self.reason != TOO_LARGE or value is None or not self.value:
            return False
        digest, size = hashlib.sha256(value).hexdigest(), len(value)
        cut = list(zip(CUT_HEADERS, (digest.encode(), str(size).encode()), strict=True))
        return self.source_headers == [*headers, *cut] and value.startswith(self.value)


def parse_dead_letter(record: Record) -> DeadLetter:
    """Return the dead letter in a record.

    Raises:
        ValueError, KeyError: the headers are not those of a dead letter.
    """
    ours = dict(record.headers[-DEAD_LETTER_HEADERS:])
    return DeadLetter(
        (ours["__connect.errors.topic"] or b"").decode(),
        int(ours["__connect.errors.partition"] or b""),
        int(ours["__connect.errors.offset"] or b""),
        int(ours["checkpoint-ready.timestamp"] or b""),
        (ours["checkpoint-ready.reason"] or b"").decode(),
        record.key,
        record.value,
        record.headers[:-DEAD_LETTER_HEADERS],
    )


def document(record: Record) -> dict[str, Any]:
    """Return the JSON object in a record's value."""
    found = json.loads(record.value or b"")
    assert isinstance(found, dict)
    return found


def event_id(record: Record) -> str:
    """Return the checkpoint id of a ready event."""
    return str(document(record)["id"])


def publisher_of(record: Record) -> tuple[str, int, int]:
    """Return what published a ready event, by its header: group, shard, number of shards.

    Raises:
        ValueError: there is no such header.
    """
    group, shard, shards = (record.header(SHARD_HEADER) or b"").decode().split("/")
    return group, int(shard), int(shards)


def shard_of(record: Record) -> int:
    """Return the shard that published a ready event."""
    return publisher_of(record)[1]


def lags(cluster: Cluster, topics: Topics) -> dict[Place, int]:
    """Return the lag of each partition of the input and the repartition topic that has one."""
    committed = cluster.group_offsets(topics.group)
    # The ends are requested after the offsets: in the other order, the last input could be
    # handled in between, and what it forwarded would be overlooked.
    ends = {
        (topic, partition): end
        for topic in (topics.input, topics.repartition)
        for partition, end in cluster.end_offsets(topic).items()
    }
    lags = {at: end - committed.get(at, 0) for at, end in ends.items()}
    return {at: lag for at, lag in lags.items() if lag}


def is_handled(cluster: Cluster, topics: Topics) -> bool:
    """Return whether the group has handled all records of its input and of the repartition topic.

    Returns False while the coordinator or a leader moves.
    """
    return _lags_if_known(cluster, topics) == {}


def wait_until_handled(
    cluster: Cluster, names: Names, deadline_seconds: float = HANDLED_SECONDS
) -> None:
    """Wait until the service has handled every record of its input and of the repartition topic.

    Raises:
        DeadlineExceeded: records are not handled in time.
    """
    topics = names.topics()
    last: list[dict[Place, int] | None] = [None]

    def handled() -> bool:
        last[0] = _lags_if_known(cluster, topics)
        return last[0] == {}

    try:
        wait_until(handled, deadline_seconds, poll_seconds=0.1)
    except DeadlineExceeded as error:
        raise DeadlineExceeded(f"records are not handled: {last[0] or 'unknown'}") from error


def assert_exactly_once(
    cluster: Cluster, names: Names, expected_ids: Iterable[str]
) -> list[Record]:
    """Wait until all is handled, and read the ready topic: each id is there once, and no other.

    Returns:
        The ready events.

    Raises:
        AssertionError: an id is lost, published twice, or was not expected.
    """
    wait_until_handled(cluster, names)
    records = cluster.read(names.topic("ready"))
    verdict = compare_ids(expected_ids, Counter(map(event_id, records)))
    assert verdict.is_exactly_once, str(verdict)
    return records


def _lags_if_known(cluster: Cluster, topics: Topics) -> dict[Place, int] | None:
    try:
        return lags(cluster, topics)
    except KafkaException as error:
        if not (error.args[0].retriable() or error.args[0].code() in COORDINATOR_MOVES):
            raise
        return None
