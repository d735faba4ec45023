"""The command `poll` with a crash: it kills its own process at a chosen step.

python -m tests.integration.crashing_poller STEP OCCURRENCE DELAY_MS COMMAND…
"""

from __future__ import annotations

import asyncio
import sys
from enum import Enum
from typing import TYPE_CHECKING

from consumer.cli import main as run_command
from consumer.kafka.client.checkpoint_producer import CheckpointProducer
from consumer.sources.poll.http_client import HttpClient
from consumer.sources.poll.job_book import JobBook
from tests.integration.crashing_service import die

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.sources.poll.pages import Job

MODULE = "tests.integration.crashing_poller"
_get, _send, _finish = HttpClient.get, CheckpointProducer.send, JobBook.finish


class PollStep(Enum):
    """A step of a pass, in this order."""

    JOBS_READ = "jobs_read"
    PAGE_READ = "page_read"
    SENDING = "sending"
    ACKNOWLEDGED = "acknowledged"
    JOB_DONE = "job_done"


def poll_crashing_at(
    step: PollStep, occurrence: int, *arguments: str, delay_ms: float = 0
) -> list[str]:
    """Return the command for a `ServiceProcess` that crashes at this step."""
    return [MODULE, step.value, str(occurrence), str(delay_ms), "poll", *arguments]


def main() -> int:
    """Run the command until the crash."""
    wanted, left, delay_ms = PollStep(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

    def reach(reached: PollStep) -> None:
        nonlocal left
        left -= reached is wanted
        if left != 0 or reached is not wanted:
            return
        if reached is PollStep.SENDING:
            # The send begins when this returns.
            asyncio.get_running_loop().call_later(delay_ms / 1000, die)
        else:
            die()

    async def get(self: HttpClient, path: str, query: Mapping[str, str]) -> bytes:
        body = await _get(self, path, query)
        reach(PollStep.PAGE_READ if path.endswith("/checkpoints") else PollStep.JOBS_READ)
        return body

    async def send(self: CheckpointProducer, records: Sequence[tuple[bytes, bytes]], /) -> None:
        reach(PollStep.SENDING)
        await _send(self, records)
        reach(PollStep.ACKNOWLEDGED)

    def finish(self: JobBook, job: Job, now: float, monotonic: float) -> bool:
        is_done = _finish(self, job, now, monotonic)
        reach(PollStep.JOB_DONE)
        return is_done

    HttpClient.get = get  # type: ignore[method-assign] # the crash
    CheckpointProducer.send = send  # type: ignore[method-assign] # the crash
    JobBook.finish = finish  # type: ignore[method-assign] # the crash
    return run_command(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
