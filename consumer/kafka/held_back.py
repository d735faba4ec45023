"""Measures records that an open transaction of a producer holds back.

A ``read_committed`` consumer gets no record from the last stable offset on. These records are not
part of the lag, because the shard cannot read them. This module measures how many they are (high
watermark minus last stable offset), and for how long the last stable offset has not moved.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition

CHECK_SECONDS: Final = 1.0
WARN_AFTER_SECONDS: Final = 60.0
WARN_AGAIN_SECONDS: Final = 600.0
HINT: Final = (
    "a producer left a transaction open there. The broker aborts it after its "
    "transaction.timeout.ms, unless it hangs. "
    "kafka-transactions.sh --bootstrap-server {servers} describe-producers --topic {topic} "
    "--partition {partition} shows its producer; find-hanging --topic {topic} shows whether it "
    "hangs"
)
UNANSWERED_SECONDS: Final = 10.0
"""The offsets of a fetch response are not used if the fetch was sent longer ago than this.

A fetch normally takes 0.2 s."""
log = structlog.get_logger(__name__)


class HeldBack(msgspec.Struct, frozen=True):
    """The records of one partition that an open transaction of a producer holds back."""

    records: int
    """High watermark minus last stable offset, including the records of the transaction."""
    seconds: float
    """For how long the last stable offset has not moved."""


NOT_HELD_BACK: Final = HeldBack(0, 0.0)


class _Held(msgspec.Struct):
    stable_offset: int
    since: float
    view: HeldBack


class HeldBackSources:
    """Measures the records that are held back in a reader's partitions, at most once a second."""

    def __init__(self) -> None:
        self._held: dict[TopicPartition, _Held] = {}
        self._next_check = 0.0

    def check(self, now: float, reader: LogReader, sources: Iterable[TopicPartition]) -> bool:
        """Measure at most once a second; return whether this call measured.

        `now` is in monotonic seconds.
        """
        if now < self._next_check:
            return False
        self._next_check = now + CHECK_SECONDS
        for source in sources:
            offsets = reader.stable_offset_and_end(source)
            # If the last response is too old, the transaction may have ended since. So do not
            # measure, and keep the last measurement.
            seen_at = reader.seen_at(source)
            if offsets and seen_at is not None and now - seen_at <= UNANSWERED_SECONDS:
                self._add(now, source, *offsets)
        return True

    @property
    def views(self) -> Mapping[TopicPartition, HeldBack]:
        """By source: its last measurement. A source without held-back records is left out."""
        return {source: held.view for source, held in self._held.items()}

    def _add(self, now: float, source: TopicPartition, stable_offset: int, end: int) -> None:
        held, records = self._held.pop(source, None), end - stable_offset
        if records <= 0:
            return
        since = held.since if held is not None and held.stable_offset == stable_offset else now
        self._held[source] = _Held(stable_offset, since, HeldBack(records, now - since))


class HeldBackLog:
    """Logs when a source has been held back for a minute, and repeats this every ten minutes.

    Also logs when the source is no longer held back.
    """

    def __init__(self, shard: int, bootstrap_servers: str) -> None:
        self._shard = shard
        self._bootstrap_servers = bootstrap_servers
        self._warned: dict[TopicPartition, tuple[float, float]] = {}
        """By source: the seconds it was held back at the last check, and the next time to log."""

    def check(self, now: float, views: Mapping[TopicPartition, HeldBack]) -> None:
        """Write the log lines that are due; `now` is in monotonic seconds."""
        for source, held in views.items():
            age, next_log = self._warned.get(source, (0.0, 0.0))
            if held.seconds < age:  # the time began again: another transaction holds it back now
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
