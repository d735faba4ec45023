"""Notice sources whose committed records wait behind an open transaction of a producer.

A ``read_committed`` consumer gets nothing behind the last stable offset. The records there are no
lag, for the shard cannot read them. So they are measured here: high watermark minus last stable
offset, and for how long the last stable offset has not moved meanwhile.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition

LOOK_SECONDS: Final = 1.0
WARN_AFTER_SECONDS: Final = 60.0
WARN_AGAIN_SECONDS: Final = 600.0
HINT: Final = (
    "a producer left a transaction open there; it ends by its transaction.timeout.ms, or hangs. "
    "kafka-transactions.sh --bootstrap-server {servers} describe-producers --topic {topic} "
    "--partition {partition} shows whose it is, find-hanging --topic {topic} whether it hangs"
)
UNANSWERED_SECONDS: Final = 10.0
"""Longer is silence: a fetch is answered within 0.2 s, if only to say that there is nothing."""
log = structlog.get_logger(__name__)


class HeldBack(msgspec.Struct, frozen=True):
    """What an open transaction of a producer holds back in one partition."""

    records: int
    """High watermark minus last stable offset: also counts the transaction's own records."""
    seconds: float
    """For how long the last stable offset has not moved."""


NOT_HELD_BACK: Final = HeldBack(0, 0.0)


class _Held(msgspec.Struct):
    stable_offset: int
    since: float
    view: HeldBack


class HeldBackSources:
    """Measures some partitions of a reader, once a second at most."""

    def __init__(self) -> None:
        self._held: dict[TopicPartition, _Held] = {}
        self._next_look = 0.0

    def look(self, now: float, reader: LogReader, sources: Iterable[TopicPartition]) -> bool:
        """Compare with the last look; return False within a second of it. `now` is monotonic."""
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        for source in sources:
            offsets = reader.stable_offset_and_end(source)
            # A leader that does not answer proves nothing: its transactions may have ended.
            seen_at = reader.seen_at(source)
            if offsets and seen_at is not None and now - seen_at <= UNANSWERED_SECONDS:
                self._add(now, source, *offsets)
        return True

    @property
    def views(self) -> Mapping[TopicPartition, HeldBack]:
        """What was held back at the last look, for each source that had such records."""
        return {source: held.view for source, held in self._held.items()}

    def _add(self, now: float, source: TopicPartition, stable_offset: int, end: int) -> None:
        held, records = self._held.pop(source, None), end - stable_offset
        if records <= 0:
            return
        since = held.since if held is not None and held.stable_offset == stable_offset else now
        self._held[source] = _Held(stable_offset, since, HeldBack(records, now - since))


class HeldBackLog:
    """Logs what lasts of one shard's sources, rarely, and its end."""

    def __init__(self, shard: int, bootstrap_servers: str) -> None:
        self._shard = shard
        self._bootstrap_servers = bootstrap_servers
        self._warned: dict[TopicPartition, tuple[float, float]] = {}
        """The age at the last look, and when it is logged again."""

    def look(self, now: float, views: Mapping[TopicPartition, HeldBack]) -> None:
        """Log what is due; `now` is monotonic."""
        for source, held in views.items():
            age, next_log = self._warned.get(source, (0.0, 0.0))
            if held.seconds < age:  # another wait has begun
                self._log_end(source)
                next_log = 0.0
            if held.seconds >= WARN_AFTER_SECONDS:
                if now >= next_log:
                    next_log = now + WARN_AGAIN_SECONDS
                    self._warn(source, held)
                self._warned[source] = held.seconds, next_log
        for source in self._warned.keys() - views.keys():
            self._log_end(source)

    def _warn(self, source: TopicPartition, held: HeldBack) -> None:
        topic, partition = source
        log.warning(
            "input_held_back",
            shard=self._shard,
            topic=topic,
            partition=partition,
            records=held.records,
            seconds=round(held.seconds, 1),
            hint=HINT.format(servers=self._bootstrap_servers, topic=topic, partition=partition),
        )

    def _log_end(self, source: TopicPartition) -> None:
        age, _ = self._warned.pop(source)
        log.info(
            "input_no_longer_held_back",
            shard=self._shard,
            topic=source.topic,
            partition=source.partition,
            seconds=round(age, 1),
        )
