"""Is a source still the one that was read? How long its fingerprint record is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from consumer.errors import TaskFailed
from consumer.kafka.client.reader import KafkaReader
from consumer.kafka.types import TopicPartition
from consumer.shard.progress import Fingerprint
from consumer.shard.start_positions import FINGERPRINT_SECONDS, find_recreated
from tests.builders import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WITNESSED = Record(7, 1000, b"key", b"value", ())
SOURCES = [TopicPartition("input", partition) for partition in range(5)]


class SlowReader:
    """Answers for one source at each fetch, in turn, and each fetch takes its time."""

    def __init__(self, answers: Mapping[TopicPartition, Record | None], seconds: float) -> None:
        """`answers` has the record at the fingerprint's offset, or None if there is none."""
        self.now = 0.0
        self._answers = dict(answers)
        self._seconds = seconds
        self._positions: dict[TopicPartition, int] = {}

    def clock(self) -> float:
        """Return the time, which only fetches let pass."""
        return self.now

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note where each source is read from."""
        self._positions = dict(positions)

    async def fetch(self, wait_ms: int, max_records: int) -> dict[TopicPartition, Sequence[Record]]:
        """Return what there is of the next source."""
        assert wait_ms
        assert max_records
        self.now += self._seconds
        if not self._answers:
            return {}
        source = next(iter(self._answers))
        found = self._answers.pop(source)
        self._positions[source] += 1
        return {} if found is None else {source: [found]}

    def position(self, source: TopicPartition) -> int:
        """Return where a source is read on."""
        return self._positions[source]

    def pause(self, sources: Sequence[TopicPartition]) -> None:
        """Only one that was read is paused."""
        assert all(self._positions[source] > WITNESSED.offset for source in sources)


async def recreated(reader: SlowReader, sources: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Ask for sources that all have the same fingerprint."""
    fingerprints = dict.fromkeys(sources, Fingerprint.of(WITNESSED))
    return await find_recreated(cast("KafkaReader", reader), fingerprints, reader.clock)


async def test_many_slow_answers_are_waited_for() -> None:
    """Each answer, also one without a record, restarts the time limit."""
    other = Record(7, 2000, b"key", b"other", ())
    answers = dict(zip(SOURCES, [WITNESSED, other, None, WITNESSED, other], strict=True))
    reader = SlowReader(answers, 0.9 * FINGERPRINT_SECONDS)
    assert await recreated(reader, SOURCES) == [SOURCES[1], SOURCES[4]]
    assert reader.now > 4 * FINGERPRINT_SECONDS


async def test_silence_is_not_waited_out() -> None:
    """With one source unanswered it ends, within the bound and a fetch."""
    reader = SlowReader(dict.fromkeys(SOURCES[1:], WITNESSED), 0.1 * FINGERPRINT_SECONDS)
    with pytest.raises(TaskFailed, match="fingerprint"):
        await recreated(reader, SOURCES)
    assert reader.now < 2 * FINGERPRINT_SECONDS
