"""The state of a replay in the journal: all that the same command needs to resume it."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from consumer.errors import ClusterError, StateCorrupted
from consumer.jobs.journal import FORMAT_VERSION, REPLAY, SETTLED, Entries
from consumer.jobs.ranges import ResolvedRange
from consumer.jobs.replay.request import Arguments
from consumer.kafka.read import OffsetRange
from consumer.kafka.types import TopicPartition
from consumer.pipeline.digest_table import KEY_BYTES
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Reason
from consumer.pipeline.replay_decider import ReplayCounts
from consumer.shard.progress import Fingerprint

_SLASH: Final = b"/"
_LARGEST: Final = 2**63 - 1  # the largest offset, time or count


class RangeState(msgspec.Struct, frozen=True):
    """One partition: its offset range, and the first offset that is not handled yet."""

    topic: str
    partition: int
    start: int
    end: int
    next_offset: int
    fingerprint: Fingerprint | None = None
    """The fingerprint of the last record that was read. A resume checks this record again."""


class ReplayState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a replay; every transaction of the replay commits it."""

    version: int = FORMAT_VERSION
    name: str
    arguments: Arguments
    target: str
    started_by: str
    started_at_ms: int
    updated_at_ms: int
    finished_at_ms: int | None = None
    from_ms: int | None
    to_ms: int | None
    ranges: list[RangeState]
    changelog_ends: list[int]
    """The end of each shard's changelog when the replay began. A resumed replay stops there."""
    known_ids: int
    """How many ids had changelog entries before these ends."""
    topic_ids: dict[str, str] = {}
    """The topic ids of the inputs when the replay began; empty if the brokers have none."""
    counts: ReplayCounts = msgspec.field(default_factory=ReplayCounts)
    transactions: int = 0
    busy_seconds: float = 0.0
    """The duration of all transactions together, without the pauses between runs."""

    @property
    def offsets(self) -> int:
        """The number of offsets of the whole range."""
        return sum(part.end - part.start for part in self.ranges)

    @property
    def handled_offsets(self) -> int:
        """The number of offsets that are handled."""
        return sum(part.next_offset - part.start for part in self.ranges)

    @property
    def percent(self) -> int:
        """The handled share of the range, 0 to 100."""
        done = self.finished_at_ms is not None or not self.offsets
        return 100 if done else 100 * self.handled_offsets // self.offsets

    @property
    def fingerprints(self) -> dict[TopicPartition, Fingerprint]:
        """The fingerprint of the last record that was read from each partition."""
        return {
            TopicPartition(part.topic, part.partition): part.fingerprint
            for part in self.ranges
            if part.fingerprint is not None
        }

    @property
    def remaining(self) -> ResolvedRange:
        """The part of the range that is not read yet."""
        ranges = {
            TopicPartition(part.topic, part.partition): OffsetRange(part.next_offset, part.end)
            for part in self.ranges
        }
        return ResolvedRange(ranges, self.from_ms, self.to_ms)

    def advance_ranges(
        self,
        next_offsets: Mapping[TopicPartition, int],
        fingerprints: Mapping[TopicPartition, Fingerprint],
    ) -> list[RangeState]:
        """Return the ranges with the new next offsets and fingerprints."""
        moved = []
        for part in self.ranges:
            partition = TopicPartition(part.topic, part.partition)
            next_offset = next_offsets.get(partition, part.next_offset)
            fingerprint = fingerprints.get(partition, part.fingerprint)
            moved.append(
                msgspec.structs.replace(part, next_offset=next_offset, fingerprint=fingerprint)
            )
        return moved


def range_states(resolved: ResolvedRange) -> list[RangeState]:
    """Return the initial states of a range: no record is handled yet."""
    return [
        RangeState(partition.topic, partition.partition, part.start, part.end, part.start)
        for partition, part in sorted(resolved.ranges.items())
    ]


def state_entry(state: ReplayState) -> tuple[bytes, bytes]:
    """Return key and value of the journal entry with a replay's state."""
    return REPLAY + state.name.encode(), msgspec.json.encode(state)


def settled_entry(name: str, number: int, digests: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return key and value of the journal entry with the ids that one transaction settled."""
    return _settled_prefix(name) + str(number).encode(), b"".join(digests)


def is_of_replay(name: str, key: bytes) -> bool:
    """Return whether the journal entry with this key belongs to this replay."""
    return key == REPLAY + name.encode() or key.startswith(_settled_prefix(name))


def read_state(entries: Entries, name: str) -> ReplayState | None:
    """Return the state of the replay with this name, or None.

    Raises:
        StateCorrupted: another release wrote the state in another format.
    """
    value = entries.get(REPLAY + name.encode())
    return None if value is None else _decode(value)


def read_states(entries: Entries) -> list[ReplayState]:
    """Return every replay, the latest first."""
    found = [_decode(value) for key, value in entries.items() if key.startswith(REPLAY)]
    return sorted(found, key=lambda state: state.started_at_ms, reverse=True)


def read_settled(entries: Entries, name: str) -> Iterator[bytes]:
    """Yield the digests of the ids that the replay has settled."""
    for key, value in entries.items():
        if key.startswith(_settled_prefix(name)):
            for start in range(0, len(value), KEY_BYTES):
                yield value[start : start + KEY_BYTES]


def settled_keys(state: ReplayState) -> Iterator[bytes]:
    """Yield the journal keys of the settled ids; a finished replay does not need them."""
    prefix = _settled_prefix(state.name)
    for number in range(state.transactions):
        yield prefix + str(number).encode()


def require_state_fits(state: ReplayState, topic: str, max_message_bytes: int) -> None:
    """Refuse a replay whose state may become too large for the journal.

    The state has an item for each partition of the range, and takes more bytes as its numbers grow.
    If it reached the limit in the middle of a replay, the replay could never resume.

    Raises:
        ClusterError: the message has the needed size and the limit.
    """
    needed_bytes = batch_bytes(*state_entry(_largest(state)), [])
    if needed_bytes > max_message_bytes:
        raise ClusterError(
            f"replay {state.name} reads {len(state.ranges)} partitions, and its state may take "
            f"{needed_bytes} bytes, but max.message.bytes of {topic} is {max_message_bytes}: raise "
            "it to that size, or replay fewer partitions at a time (--from topic/partition:offset)"
        )


def _largest(state: ReplayState) -> ReplayState:
    """Return the state with the largest value in every number."""
    fingerprint = Fingerprint(_LARGEST, -_LARGEST, 2**32 - 1)
    numbers = {field: _LARGEST for field in ReplayCounts.__struct_fields__ if field != "invalid"}
    return msgspec.structs.replace(
        state,
        updated_at_ms=_LARGEST,
        finished_at_ms=_LARGEST,
        ranges=[
            msgspec.structs.replace(part, next_offset=part.end, fingerprint=fingerprint)
            for part in state.ranges
        ],
        counts=ReplayCounts(**numbers, invalid=dict.fromkeys(Reason, _LARGEST)),
        transactions=_LARGEST,
        busy_seconds=-sys.float_info.max,
    )


def _settled_prefix(name: str) -> bytes:
    return SETTLED + name.encode() + _SLASH


def _decode(value: bytes) -> ReplayState:
    try:
        state = msgspec.json.decode(value, type=ReplayState)
    except msgspec.DecodeError as error:
        raise StateCorrupted(f"a replay in the journal is not readable: {error}") from error
    if state.version != FORMAT_VERSION:
        raise StateCorrupted(
            f"replay {state.name} is stored in format {state.version}, but this release reads "
            f"format {FORMAT_VERSION}: use the release that wrote it"
        )
    return state
