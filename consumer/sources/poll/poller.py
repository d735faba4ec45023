"""Runs the passes of all accounts: forever, or once. Accounts do not wait for each other."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from consumer.sources.poll.account_poller import AccountPoller, PassReport

JITTER: Final = 0.1


async def poll_forever(pollers: Sequence[AccountPoller]) -> None:
    """Poll each account at its interval, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for poller in pollers:
            group.create_task(_repeat(poller), name=f"poll-{poller.account.name}")


async def poll_once(pollers: Sequence[AccountPoller]) -> bool:
    """Poll each account until no job waits; return whether every pass was good."""
    results = await asyncio.gather(*(_until_done(poller) for poller in pollers))
    return all(results)


async def _repeat(poller: AccountPoller) -> None:
    while True:
        report = await poller.run_pass()
        if not _may_continue(report):
            interval = poller.account.interval_seconds
            await asyncio.sleep(interval * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - spreads the load


async def _until_done(poller: AccountPoller) -> bool:
    is_good = True
    while True:
        report = await poller.run_pass()
        is_good = is_good and report.is_good
        if not _may_continue(report):
            return is_good


def _may_continue(report: PassReport) -> bool:
    """Return whether to begin the next pass at once: jobs wait, and the provider answers.

    A problem of one job does not delay the others, and does not end `--once` before them.
    """
    return not report.is_incomplete and (report.is_paused or report.jobs_waiting > 0)
