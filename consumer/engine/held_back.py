"""Notice sources whose committed records wait behind an open transaction of a producer.

A ``read_committed`` consumer gets nothing behind the last stable offset. The records there are no
lag, for the shard cannot read them. So they are measured here: high watermark minus last stable
offset, and for how long the last stable offset has not moved meanwhile.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.engine.kafka import ShardReader, TopicPartition
from consumer.engine.view import UNANSWERED_SECONDS, HeldBack

LOOK_SECONDS: Final = 1.0
WARN_AFTER_SECONDS: Final = 60.0
WARN_AGAIN_SECONDS: Final = 600.0
HINT: Final = (
    "a producer left a transaction open there; it ends by its transaction.timeout.ms, or hangs. "
    "kafka-transactions.sh --bootstrap-server {servers} describe-producers --topic {topic} "
    "--partition {partition} shows whose it is, find-hanging --topic {topic} whether it hangs"
)
log = structlog.get_logger(__name__)


class _Held(msgspec.Struct):
    stable_offset: int
    since: float
    next_warning: float
    is_warned: bool = False
    view: HeldBack = HeldBack(0, 0.0)


class HeldBackSources:
    """Measures the sources of one shard; logs what lasts."""

    def __init__(self, shard: int, bootstrap_servers: str) -> None:
        self._shard = shard
        self._bootstrap_servers = bootstrap_servers
        self._held: dict[TopicPartition, _Held] = {}
        self._next_look = 0.0

    def look(self, now: float, reader: ShardReader, sources: Iterable[TopicPartition]) -> None:
        """Compare with the last look; does nothing within a second of it. `now` is monotonic."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        for source in sources:
            offsets = reader.stable_offset_and_end(source)
            # A leader that does not answer proves nothing: its transactions may have ended.
            seen_at = reader.seen_at(source)
            if offsets and seen_at is not None and now - seen_at <= UNANSWERED_SECONDS:
                self._take_in(now, source, *offsets)

    @property
    def views(self) -> Mapping[TopicPartition, HeldBack]:
        """What was held back at the last look, for each source that had such records."""
        return {source: held.view for source, held in self._held.items()}

    def _take_in(self, now: float, source: TopicPartition, stable_offset: int, end: int) -> None:
        held = self._held.get(source)
        records = end - stable_offset
        if held is not None and (records <= 0 or held.stable_offset != stable_offset):
            del self._held[source]
            if held.is_warned:
                self._log_end(now, source, held)
            held = None
        if records <= 0:
            return
        if held is None:
            held = _Held(stable_offset, now, now + WARN_AFTER_SECONDS)
            self._held[source] = held
        held.view = HeldBack(records, now - held.since)
        if now >= held.next_warning:
            held.is_warned, held.next_warning = True, now + WARN_AGAIN_SECONDS
            topic, partition = source
            hint = HINT.format(servers=self._bootstrap_servers, topic=topic, partition=partition)
            log.warning(
                "input_held_back",
                shard=self._shard,
                topic=topic,
                partition=partition,
                records=records,
                last_stable_offset=stable_offset,
                seconds=round(now - held.since, 1),
                hint=hint,
            )

    def _log_end(self, now: float, source: TopicPartition, held: _Held) -> None:
        log.info(
            "input_no_longer_held_back",
            shard=self._shard,
            topic=source.topic,
            partition=source.partition,
            seconds=round(now - held.since, 1),
        )
