"""The life cycle that replay, backfill and redrive share.

The three jobs differ in what they read and what they decide. How a job resumes, retries, stops,
limits its rate and reports its progress is the same for all, and is written here once.

`run` makes attempts until one succeeds. Each attempt:

1. opens a context: it checks the topics and connects a reader, without joining the group;
2. prepares: it determines the work, before it creates or writes anything;
3. creates missing topics and opens the journal: it fences any process that runs the same job, and
   reads the progress;
4. works: it reads, decides and commits, starting after the last committed transaction.

`plan` reads and decides with the same code, but it writes nothing and fences no process.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

from consumer.config import Settings
from consumer.errors import Interrupted
from consumer.jobs.context import JobContext, open_job_context
from consumer.jobs.journal import Entries
from consumer.jobs.progress import ProgressReport
from consumer.jobs.retry import (
    RateLimiter,
    ShutdownSignal,
    run_until_shutdown,
    run_with_retries,
)
from consumer.kafka.port import Kafka, TransactionBatches

PLAN_STOPPED: Final = "stopped before the plan was complete; nothing was changed"
TAKEN_OVER: Final = (
    "another process has started the same command; this process ends and the other one continues"
)
ResultT = TypeVar("ResultT")
PlanT = TypeVar("PlanT")


class JobWriter(Protocol):
    """Writes records and journal entries in transactions."""

    def transaction_batches(self) -> TransactionBatches:
        """Return the empty batches of the next transaction."""

    async def commit(
        self, transaction_batches: TransactionBatches, entries: Iterable[tuple[bytes, bytes | None]]
    ) -> None:
        """Commit the records and these journal entries in one transaction."""

    async def forget(self, keys: Iterable[bytes]) -> None:
        """Write tombstones for these journal entries."""


class DryRunWriter:
    """The writer of a plan: it accepts everything and writes nothing."""

    def to(self, topic: str, partition: int) -> "DryRunWriter":  # noqa: ARG002 - the interface
        """Return this object, which discards the records of the partition."""
        return self

    def append(self, key: object, value: object, headers: object = ()) -> None:
        """Discard a record."""

    def append_pairs(self, pairs: object, /) -> None:
        """Discard records."""

    def transaction_batches(self) -> "DryRunWriter":
        """Return batches that discard their records."""
        return self

    async def commit(self, transaction_batches: object, entries: object) -> None:
        """Write nothing."""

    async def forget(self, keys: object) -> None:
        """Write nothing."""


class Attempt:
    """One attempt of a job: its connections, its committed progress and its writer."""

    def __init__(
        self,
        context: JobContext,
        entries: Entries,
        writer: JobWriter,
        journal_max_bytes: int,
        rate: int | None = None,
    ) -> None:
        """`entries` are the journal entries of this job at the start of the attempt."""
        self.context = context
        self.entries = entries
        self.writer = writer
        self.journal_max_bytes = journal_max_bytes
        self.is_plan = isinstance(writer, DryRunWriter)
        # Each attempt has its own limiter. A limiter that outlived an outage would count the time
        # of this outage, and then let the job write faster than its rate.
        self.rate_limiter = RateLimiter(rate)


class Job(ABC, Generic[ResultT, PlanT]):
    """A command that reads history, writes transactions and resumes after any interruption."""

    def __init__(
        self,
        settings: Settings,
        purpose: str,
        shutdown: ShutdownSignal,
        progress: ProgressReport,
        *,
        rate: int | None = None,
    ) -> None:
        """`purpose` is a part of the transactional id.

        So at most one process at a time can run a job with this purpose.
        `rate` limits the records written per second.
        """
        self.settings = settings
        self.purpose = purpose
        self.shutdown = shutdown
        self.progress = progress
        self.commits = 0
        """How many transactions this run has committed."""
        self._rate = rate
        self.kafka: Kafka | None = None
        """An implementation of the Kafka port for tests; None means the real client."""

    @abstractmethod
    def owns_entry(self, key: bytes) -> bool:
        """Return whether the job needs the journal entry with this key."""

    @abstractmethod
    async def make_plan(self, attempt: Attempt) -> PlanT:
        """Return what a run would do. The attempt has a writer that writes nothing."""

    async def prepare(self, context: JobContext) -> ResultT | None:  # noqa: ARG002 - the interface
        """Determine the work of the run; return a result if there is nothing to do.

        Every attempt of a run calls this, before the journal is created or opened.
        """
        return None

    @abstractmethod
    async def ensure_targets(self, context: JobContext) -> dict[str, int]:
        """Create missing target topics; return ``max.message.bytes`` of each target by its name."""

    @abstractmethod
    async def work(self, attempt: Attempt) -> ResultT:
        """Read, decide and commit everything that the journal does not show as done."""

    async def plan(self) -> PlanT:
        """Return what a run would do; write nothing and create nothing.

        Raises:
            Interrupted: a shutdown was requested.
            ConfigError, ClusterError: a run would be refused; the message gives the reason.
        """

        async def plan() -> PlanT:
            async with open_job_context(
                self.settings, f"{self.purpose}-plan", self.kafka
            ) as context:
                entries = await context.read_journal(self.owns_entry)
                journal_max_bytes = await context.journal_max_bytes()
                return await self.make_plan(
                    Attempt(context, entries, DryRunWriter(), journal_max_bytes)
                )

        return await run_until_shutdown(plan, self.shutdown, PLAN_STOPPED, grace_seconds=0.0)

    async def run(self) -> ResultT:
        """Run the job to its end. If the cluster fails, retry from the committed progress.

        Raises:
            Interrupted: a shutdown was requested. What is committed stays committed.
            ConfigError, ClusterError: the job is refused; the message gives the reason.
            CheckpointReadyError: another process runs the same job, or the retries are exhausted.
        """
        with self.progress:
            return await run_with_retries(
                self._attempt, lambda: self.commits, self.shutdown, self.taken_over()
            )

    def taken_over(self) -> str:
        """Return the error message for a run that another process has fenced."""
        return TAKEN_OVER

    async def commit(
        self,
        attempt: Attempt,
        transaction_batches: TransactionBatches,
        entries: Iterable[tuple[bytes, bytes | None]],
    ) -> None:
        """Commit records and journal entries in one transaction.

        Raises:
            Fenced: another process has taken over the job.
            TaskFailed: the outcome is unknown. The next attempt reads the outcome from the journal.
        """
        await attempt.writer.commit(transaction_batches, entries)
        self.commits += 1

    def interrupted(self, attempt: Attempt, message: str) -> Interrupted:
        """Return the error that ends an attempt after a shutdown request.

        `message` is the text for a run. For a plan, the text is always `PLAN_STOPPED`.
        """
        text = PLAN_STOPPED if attempt.is_plan else message
        return Interrupted(text, self.shutdown.signal or signal.SIGINT)

    async def _attempt(self) -> ResultT:
        async with open_job_context(self.settings, self.purpose, self.kafka) as context:
            result = await self.prepare(context)
            if result is not None:
                return result
            targets = await self.ensure_targets(context)
            journal_topic = await context.ensure_journal()
            written = {**targets, **journal_topic}
            async with context.journal(self.purpose, written) as journal:
                entries = await journal.open(self.owns_entry)
                journal_max_bytes = journal_topic[self.settings.jobs_topic]
                return await self.work(
                    Attempt(context, entries, journal, journal_max_bytes, self._rate)
                )
