"""The sources that a shard does not read now, because their leader is gone or does not answer.

One input partition without a leader must not stop the records of the others. So a shard starts
without such a source, and a running shard drops it. Its progress in the changelog stays as it is.
Later the source is checked exactly as at a start, beside the shard's loop, and then read again. New
partitions of an input take the same way.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

import structlog

from consumer.errors import Leaderless, TaskFailed, TransientError
from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition
from consumer.shard.changelog import ShardState
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.progress import Identity, Progress
from consumer.shard.start_positions import Findings, Start, examine, resume

# The time for the offsets of sources. Leaders normally answer within milliseconds. A leader that
# needs longer delays its own partitions only.
ANSWER_SECONDS: Final = 5.0
NO_LEADER: Final = "it has no leader"
NO_ANSWER: Final = f"its leader did not answer within {ANSWER_SECONDS:g} s"
NEW: Final = "it is new"
log = structlog.get_logger(__name__)


async def find_deferred(
    context: ShardContext, reader: LogReader, memory: ShardState
) -> dict[TopicPartition, str]:
    """Return the sources without which the shard must start, and why.

    Raises:
        Leaderless: a source that is needed has no leader. The shard's partition of the repartition
            topic is always needed. Other sources are needed while their first offset is not
            decided: at the first start of the shard, and for a topic that is new in INPUT_TOPICS
            with AUTO_OFFSET_RESET=latest.
        TaskFailed: the leader of a needed source does not answer.
        ClusterError: the ACLs do not permit a request.
    """
    sources = context.sources()
    deferred = {source: NO_LEADER for source in sources if not context.has_leader(source)}
    needed = {source for source in sources if _is_needed(context, memory, source)}
    missing = sorted(needed & deferred.keys())
    if missing:
        raise Leaderless(f"shard {context.shard} cannot start without {_names(missing)}: no leader")
    optional = [source for source in sources if source not in deferred and source not in needed]
    return deferred | dict.fromkeys(await silent_sources(reader, optional), NO_ANSWER)


def _is_needed(context: ShardContext, memory: ShardState, source: TopicPartition) -> bool:
    if memory.meta is None or context.is_forwards(source):
        return True
    is_decided = source in memory.progress or source.topic in memory.meta.input_topics
    return not is_decided and context.settings.auto_offset_reset == "latest"


async def silent_sources(
    reader: LogReader, sources: Collection[TopicPartition]
) -> list[TopicPartition]:
    """Return the sources whose leader does not answer in time.

    One request serves all leaders that answer. Only if it fails, each source is asked alone.

    Raises:
        ClusterError: the ACLs do not permit the request.
    """
    if not sources or await _answers(reader, sources):
        return []
    try:
        async with asyncio.TaskGroup() as group:
            asked = [(source, group.create_task(_answers(reader, [source]))) for source in sources]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [source for source, answer in asked if not answer.result()]


async def _answers(reader: LogReader, sources: Collection[TopicPartition]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await reader.beginning_offsets(sources)
    except (TimeoutError, TaskFailed, TransientError):
        return False
    return True


class _Check(NamedTuple):
    """The result of a check: what it found, and what it was compared with."""

    findings: Findings
    known: Mapping[TopicPartition, Progress]
    identities: Mapping[TopicPartition, Identity]
    silent: Collection[TopicPartition]


class DeferredSources:
    """The deferred sources of a running shard. ``reasons`` says why each of them is not read."""

    def __init__(self, context: ShardContext, memory: ShardState, readers: SideReaders) -> None:
        self.reasons: dict[TopicPartition, str] = {}
        self._since: dict[TopicPartition, float] = {}
        self._shard = context.shard
        self._memory = memory
        self._readers = readers
        self._running: asyncio.Task[_Check] | None = None

    def __contains__(self, source: object) -> bool:
        return source in self.reasons

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def seconds(self, source: TopicPartition) -> float:
        """Return for how long a source has been deferred."""
        return time.monotonic() - self._since[source]

    def add(self, reasons: Mapping[TopicPartition, str]) -> None:
        """Defer sources. Log each reason that changes, except that a partition is new."""
        changed = {s: why for s, why in reasons.items() if self.reasons.get(s) != why}
        self.reasons |= changed
        for source in changed:
            self._since.setdefault(source, time.monotonic())
        shown = {s: why for s, why in changed.items() if why != NEW}
        if shown:
            log.warning(
                "sources_deferred",
                shard=self._shard,
                sources={f"{s.topic}/{s.partition}": why for s, why in shown.items()},
                hint="their records wait until the leader is back; see "
                "docs/operations/runbook.md, When a partition has no leader",
            )

    def keep_only(self, sources: Collection[TopicPartition]) -> None:
        """Forget the other deferred sources: a topic was recreated with fewer partitions."""
        for source in self.reasons.keys() - set(sources):
            del self.reasons[source], self._since[source]

    def begin_check(
        self, context: ShardContext, progress: Mapping[TopicPartition, Progress]
    ) -> bool:
        """Begin to check the deferred sources that have a leader. Return False if a check runs.

        `progress` is that of the shard, with what is not committed yet.
        """
        if self._running is not None:
            return False
        sources = [source for source in self.reasons if context.has_leader(source)]
        if sources:
            known = {source: progress[source] for source in sources if source in progress}
            self._running = asyncio.create_task(
                self._check(context, known, sources), name=f"sources-{self._shard}"
            )
        return True

    def take_checked(
        self, context: ShardContext, progress: Mapping[TopicPartition, Progress]
    ) -> Start | None:
        """Return where to read the sources that a completed check has found, and remove them here.

        Return None if no check has completed. The result omits a source if its topic, its leader
        epoch or its progress has changed since the check began. The next check decides about it.

        Raises:
            ClusterError, StateCorrupted: as ``examine`` and ``resume``.
        """
        if self._running is None or not self._running.done():
            return None
        running, self._running = self._running, None
        try:
            check = running.result()
        except (TaskFailed, TransientError, asyncio.CancelledError) as error:
            # A leader has moved or died meanwhile. The next check tries again. A check that was
            # cancelled must not look like a cancellation of the shard's task.
            reason = str(error) or "the check was cancelled"
            log.info("sources_not_checked", shard=self._shard, error=reason)
            return None
        self.add(dict.fromkeys(check.silent, NO_ANSWER))
        current = {
            source
            for source, identity in check.identities.items()
            if source in self.reasons
            and context.identity(source) == identity
            and progress.get(source) == check.known.get(source)
        }
        start = resume(context, check.known, check.findings, current)
        for source in start.positions:
            del self.reasons[source], self._since[source]
        return start

    async def close(self) -> None:
        """End a check that runs."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.exception()  # otherwise asyncio logs that it was never retrieved

    async def _check(
        self,
        context: ShardContext,
        known: Mapping[TopicPartition, Progress],
        sources: Collection[TopicPartition],
    ) -> _Check:
        async with self._readers.open(context, committed_only=True) as reader:
            silent = await silent_sources(reader, sources)
            there = [source for source in sources if source not in silent]
            findings = await examine(
                context, self._readers, reader, self._memory, known=known, sources=there
            )
        identities = {source: context.identity(source) for source in there}
        return _Check(findings, known, identities, silent)


def _names(sources: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{source.topic}/{source.partition}" for source in sources)
