"""Tests on temporary topics what a cluster can do, and says what this means for the service.

1. Create a topic like the repartition topic and one like the changelog.
2. Commit a transaction in the first topic, and compare the broker's timestamp with the clock here.
3. Write a second transaction. A newer producer with the same transactional id then fences its
   producer, which aborts it.
4. The newer producer commits a record in both topics. A committed reader must get exactly the
   records of the committed transactions.
5. Delete the first records of the first topic, and ask for open transactions and the group.
6. Delete both topics, also after a failure or a signal.

All tests together have ten seconds. The clean-up has five more.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from consumer.config import Settings
from consumer.errors import (
    ClusterError,
    Fenced,
    TaskFailed,
    TimedOut,
    TransientError,
)
from consumer.kafka.broker_settings import find_broker_problems
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import Kafka, LogReader, TransactionalWriter
from consumer.kafka.probe_findings import (
    BROKERS,
    CLOCK,
    COMPACTION,
    DELETE_RECORDS,
    FENCING,
    GROUP,
    LOGIN,
    OPEN_TRANSACTIONS,
    TRANSACTIONS,
    Findings,
    ProbeResult,
    Status,
)
from consumer.kafka.probe_topics import ProbeAdmin, ProbeTopics
from consumer.kafka.read import OffsetRange, ReadOptions, read_range
from consumer.kafka.types import TopicPartition

TRANSACTION_TIMEOUT_MS: Final = 10_000
TOTAL_SECONDS: Final = 10.0
READ_SECONDS: Final = 5.0
# On a new cluster the brokers create the log of the transactions only now.
FENCE_SECONDS: Final = 5.0
GROUP_SECONDS: Final = 5.0
GROUP_PAUSE_SECONDS: Final = 0.2
ID_BYTES: Final = 4
MAX_SKEW_MS: Final = 60_000
COMMITTED, ABORTED, LATER = b"committed", b"aborted", b"later"


class ClusterProbe:
    """One run of the probe, on topics and with a transactional id that no other run uses."""

    def __init__(
        self,
        kafka: Kafka,
        admin: ProbeAdmin,
        settings: Settings,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """`total_seconds` limits all tests together, without the clean-up after them."""
        name = f"probe-{secrets.token_hex(ID_BYTES)}"
        self._findings = Findings()
        self.topics = ProbeTopics(admin, settings, self._findings, f"{settings.group_id}.{name}")
        self._kafka = kafka
        self._admin = admin
        self._settings = settings
        self._total_seconds = total_seconds
        self._transactional_id = f"{settings.group_id}-{name}"
        self._events = TopicPartition(self.topics.events, 0)
        self._changelog = TopicPartition(self.topics.changelog, 0)

    async def run(self) -> ProbeResult:
        """Run all tests, and delete the topics.

        When the time is over, the tests that did not end are reported as unknown.

        Raises:
            ClusterError: the brokers refuse the login, or do not let the probe create topics.
            TaskFailed, TransientError: the brokers do not answer.
        """
        began = time.monotonic()
        cluster_id, brokers = "", 0
        try:
            async with asyncio.timeout(self._total_seconds):
                cluster_id, brokers = await self._admin.cluster()
                login = self._settings.sasl_mechanism or "no login"
                self._findings.add(LOGIN, f"{self._settings.security_protocol}, {login}")
                await self.topics.create(brokers)
                await self._test()
        except TimeoutError:
            self._findings.add_unfinished(self._total_seconds)
        finally:
            await self.topics.delete()
        return ProbeResult(
            cluster_id,
            brokers,
            self._findings.can_run,
            round(time.monotonic() - began, 1),
            tuple(self._findings.found),
        )

    async def _broker_settings(self) -> str:
        found = await self._admin.broker_settings()
        if problems := list(find_broker_problems(self._settings, found)):
            raise ClusterError("; ".join(problems))
        # DescribeConfigs on the cluster is optional.
        return "they fit the settings of the service" if found.configs else ""

    async def _test(self) -> None:
        attempt = self._findings.attempt
        async with asyncio.TaskGroup() as tests:
            # On a new cluster this waits for a topic of the brokers, as the transactions do.
            tests.create_task(attempt(GROUP, self._group))
            await attempt(BROKERS, self._broker_settings)
            await self._test_transactions()
            await attempt(DELETE_RECORDS, self._delete_records)
            await attempt(OPEN_TRANSACTIONS, self._open_transactions)

    async def _test_transactions(self) -> None:
        attempt = self._findings.attempt
        async with self._writer() as older:
            await attempt(TRANSACTIONS, lambda: self._commit_first(older), is_silent=True)
            if not self._findings.has_failed(TRANSACTIONS):
                async with self._writer() as newer:
                    await attempt(FENCING, lambda: self._fence(older, newer))
                    await attempt(TRANSACTIONS, lambda: self._commit_last(newer))
                    await attempt(COMPACTION, lambda: self._write_changelog(newer))

    async def _commit_first(self, writer: TransactionalWriter) -> str:
        try:
            async with asyncio.timeout(FENCE_SECONDS):
                await writer.fence()
        except TimeoutError:
            raise TimedOut(
                f"the coordinator of transactions did not answer within {FENCE_SECONDS:g} s"
            ) from None
        began = time.monotonic()
        await self._send(writer, self._events, COMMITTED)
        skew_ms = writer.broker_clock.now_ms() - wall_clock_ms()
        error_ms = round((time.monotonic() - began) * 1000)
        await writer.commit()
        is_close = abs(skew_ms) < MAX_SKEW_MS
        direction = "behind" if skew_ms < 0 else "ahead of"
        self._findings.add(
            CLOCK,
            f"the broker's clock is {abs(skew_ms) / 1000:.1f} s {direction} the clock here "
            f"(± {error_ms} ms)",
            None if is_close else Status.LIMITED,
        )
        return ""

    async def _fence(self, older: TransactionalWriter, newer: TransactionalWriter) -> str:
        await self._send(older, self._events, ABORTED)
        await newer.fence()
        try:
            await older.commit()
        except Fenced:
            return "a newer producer ends the older one"
        raise ClusterError("an older producer could still commit after a newer one had begun")

    async def _commit_last(self, writer: TransactionalWriter) -> str:
        end = await self._send(writer, self._events, LATER) + 1
        await writer.commit()
        seen = []
        async with self._reader() as reader:
            options = ReadOptions(total_seconds=READ_SECONDS, purpose="the records of the probe")
            ranges = {self._events: OffsetRange(0, end)}
            async with aclosing(read_range(reader, ranges, options)) as batches:
                async for batch in batches:
                    seen += [record.value for record in batch.records]
        if seen != [COMMITTED, LATER]:
            raise ClusterError(
                f"a read_committed reader got {seen} instead of {[COMMITTED, LATER]}"
            )
        return "a read_committed reader gets committed records, and no aborted ones"

    async def _write_changelog(self, writer: TransactionalWriter) -> str:
        await self._send(writer, self._changelog, LATER)
        await writer.commit()
        if self._findings.has_failed(COMPACTION):
            return ""
        return "a compacted topic accepts transactions"

    async def _delete_records(self) -> str:
        async with self._reader() as reader:
            end = (await reader.end_offsets([self._events]))[self._events]
            await self._admin.delete_records({self._events: end})
            start = (await reader.beginning_offsets([self._events]))[self._events]
        if start != end:
            raise ClusterError(f"the records before offset {end} stay; the log starts at {start}")
        return "handled forwards can be deleted"

    async def _open_transactions(self) -> str:
        found = await self._admin.open_transactions([self._events.topic])
        if found.unsupported_brokers:
            raise ClusterError("the brokers do not know this request (KIP-664)")
        return "open transactions can be found"

    async def _group(self) -> str:
        # On a new cluster the brokers create the topic of the group offsets only now.
        deadline = time.monotonic() + GROUP_SECONDS
        while True:
            try:
                await self._admin.group_offsets(self._settings.group_id)
            except (TaskFailed, TransientError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(GROUP_PAUSE_SECONDS)
            else:
                return "the coordinator answers"

    async def _send(self, writer: TransactionalWriter, to: TopicPartition, value: bytes) -> int:
        # As the service does: the changelog gets no timestamps of this machine.
        batches = writer.new_batches({to.topic: 1024 * 1024}, {self._changelog.topic})
        batches.to(*to).append(b"probe", value)
        return (await writer.send(batches))[to]

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[TransactionalWriter]:
        writer = self._kafka.writer(self._transactional_id, TRANSACTION_TIMEOUT_MS)
        try:
            yield writer
        finally:
            await writer.close()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[LogReader]:
        reader = self._kafka.reader(
            self._transactional_id, topics=[self._events.topic], max_message_bytes=1024 * 1024
        )
        try:
            await reader.start()
            yield reader
        finally:
            await reader.close()
