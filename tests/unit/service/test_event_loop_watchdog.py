"""The watchdog ends a process whose event loop is blocked, or whose shutdown does not finish."""

import subprocess
import sys
import textwrap

import pytest

from consumer.service.event_loop_watchdog import LOOP_BLOCKED, SHUTDOWN_TOO_LONG

DEADLINE_SECONDS = 60.0
PROGRAM = """
import asyncio, os, sys, threading, time
from consumer.service import event_loop_watchdog
event_loop_watchdog.SHUTDOWN_SECONDS = 2.0

async def run(watchdog):
    heartbeat = asyncio.create_task(watchdog.keep_beating())
{body}

with event_loop_watchdog.EventLoopWatchdog({seconds}) as watchdog:
    asyncio.run(run(watchdog))
print("ended by itself")
"""
CANCEL_IGNORED = """
async def ignore_cancel():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
stubborn = asyncio.create_task(ignore_cancel())
await asyncio.sleep(0.1)
heartbeat.cancel()
watchdog.limit_shutdown()
"""
STDERR_BLOCKED = """
reading, writing = os.pipe()
os.set_blocking(writing, False)
try:
    while True:
        os.write(writing, bytes(4096))
except BlockingIOError:
    os.set_blocking(writing, True)
os.dup2(writing, 2)
time.sleep(3600)
"""


def run(body: str, *, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a program whose loop executes `body` under a watchdog with this limit."""
    program = PROGRAM.format(body=textwrap.indent(body, "    "), seconds=seconds)
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_loop_that_runs_is_not_ended(seconds: float) -> None:
    """It may run for longer than the limit if it beats. With 0 it need not beat."""
    body = "await asyncio.sleep(2.8)" if seconds else "time.sleep(2.8)"
    done = run(body, seconds=seconds)
    assert (done.returncode, done.stdout) == (0, "ended by itself\n"), done.stderr


def test_a_blocked_loop_ends_the_process_and_shows_where() -> None:
    """The exit code is 1; standard error has one clear line and the stacks."""
    done = run("time.sleep(3600)", seconds=1)
    assert done.returncode == 1
    assert f"{LOOP_BLOCKED} for 1 s" in done.stderr
    assert 'File "<string>", line' in done.stderr


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_shutdown_that_does_not_finish_is_cut_short(seconds: float) -> None:
    """A task that ignores its cancellation does not keep the process alive, with any limit."""
    done = run(CANCEL_IGNORED, seconds=seconds)
    assert done.returncode == 1
    assert f"{SHUTDOWN_TOO_LONG} for 2 s" in done.stderr


def test_standard_error_need_not_be_read() -> None:
    """A full pipe on standard error does not keep the process alive."""
    assert run(STDERR_BLOCKED, seconds=1).returncode == 1


def test_it_watches_without_a_standard_error() -> None:
    """A closed standard error does not end the process."""
    program = PROGRAM.format(body="    await asyncio.sleep(2.8)", seconds=2)
    closed = f"import os; os.close(2); import sys; sys.stderr = None{program}"
    ended = subprocess.run(
        [sys.executable, "-c", closed], stdout=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=True
    )
    assert ended.stdout == b"ended by itself\n"
