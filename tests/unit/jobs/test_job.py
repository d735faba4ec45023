"""The life cycle of a job: retries, plans and the report of its progress."""

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from consumer.config import Settings
from consumer.errors import CheckpointReadyError, Fenced, Interrupted, TaskFailed
from consumer.jobs import job as jobs
from consumer.jobs import progress, retry
from consumer.jobs.job import PLAN_STOPPED, TAKEN_OVER, Attempt, DryRunWriter, Job
from consumer.jobs.progress import Goal, ProgressReport
from consumer.jobs.retry import ShutdownSignal

KEY = b"key"
SETTINGS = Settings.load({})


class FakeJournal:
    """A journal in memory: one writer of one entry."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.opened = 0
        self.is_fenced = False

    async def open(self, _: object) -> dict[bytes, bytes]:
        """Return the committed entries."""
        self.opened += 1
        if self.is_fenced:
            raise Fenced("another process")
        return dict(self.entries)

    def transaction_batches(self) -> DryRunWriter:
        """Return batches that discard their records."""
        return DryRunWriter()

    async def commit(self, _: object, entries: list[tuple[bytes, bytes]]) -> None:
        """Keep the entries."""
        self.entries.update(entries)


class FakeContext:
    """The connections of a job without a cluster."""

    def __init__(self, journal: FakeJournal) -> None:
        self._journal = journal

    async def read_journal(self, _: object) -> dict[bytes, bytes]:
        """Return the committed entries."""
        return dict(self._journal.entries)

    async def journal_max_bytes(self) -> int:
        """Return a size."""
        return 1000

    async def ensure_journal(self) -> dict[str, int]:
        """Return the topic of the journal."""
        return {SETTINGS.jobs_topic: 1000}

    @asynccontextmanager
    async def journal(self, *_: object) -> AsyncGenerator[FakeJournal, None]:
        """Yield the journal."""
        yield self._journal


class Counter(Job[int, int]):
    """Counts to three, one transaction for each number; each attempt may fail after a commit."""

    failures = 0

    def owns_entry(self, key: bytes) -> bool:
        """Return whether the entry is the count."""
        return key == KEY

    async def ensure_targets(self, _: object) -> dict[str, int]:
        """Return no targets: only the journal is written."""
        return {}

    async def make_plan(self, attempt: Attempt) -> int:
        """Count without a writer."""
        return await self.work(attempt)

    async def work(self, attempt: Attempt) -> int:
        """Count from the committed number on."""
        count = int(attempt.entries.get(KEY, b"0"))
        while count < 3:
            if self.shutdown:
                raise self.interrupted(attempt, f"stopped at {count}")
            count += 1
            batches = attempt.writer.transaction_batches()
            await self.commit(attempt, batches, [(KEY, str(count).encode())])
            self.progress.show(Goal(3, 0), count, count)
            if self.failures:
                self.failures -= 1
                raise TaskFailed("the broker is gone")
        return count


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> FakeJournal:
    """Let jobs use a journal in memory, and write each line of progress at once."""
    found = FakeJournal()

    @asynccontextmanager
    async def opened(*_: object) -> AsyncGenerator[FakeContext, None]:
        yield FakeContext(found)

    monkeypatch.setattr(jobs, "open_job_context", opened)
    monkeypatch.setattr(retry, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    return found


def counter(lines: list[dict[str, Any]], shutdown: ShutdownSignal | None = None) -> Counter:
    """Return the job; its progress goes to `lines`."""
    report = ProgressReport(
        "count", "records", lambda line: lines.append(msgspec.json.decode(line))
    )
    return Counter(SETTINGS, "count", shutdown or ShutdownSignal(), report)


async def test_an_attempt_resumes_from_committed_progress(journal: FakeJournal) -> None:
    """Each attempt reads the journal; nothing is done twice, and the display stays open."""
    lines: list[dict[str, Any]] = []
    job = counter(lines)
    job.failures = 2
    assert await job.run() == 3
    assert (journal.opened, job.commits) == (3, 3)
    assert journal.entries == {KEY: b"3"}
    assert [line["done"] for line in lines] == [1, 2, 3]


async def test_a_plan_writes_nothing(journal: FakeJournal) -> None:
    """A plan decides by the same code, opens no journal, commits nothing and shows no progress."""
    lines: list[dict[str, Any]] = []
    assert await counter(lines).plan() == 3
    assert (journal.opened, journal.entries, lines) == (0, {}, [])


async def test_a_takeover(journal: FakeJournal) -> None:
    """A fenced job is not retried."""
    journal.is_fenced = True
    with pytest.raises(CheckpointReadyError, match=TAKEN_OVER):
        await counter([]).run()
    assert journal.opened == 1


@pytest.mark.usefixtures("journal")
async def test_a_shutdown() -> None:
    """A run says how far it is; a plan says that nothing was changed."""
    shutdown = ShutdownSignal()
    shutdown.request(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped at 0"):
        await counter([], shutdown).run()
    with pytest.raises(Interrupted, match=PLAN_STOPPED):
        await counter([], shutdown).plan()
