"""The guard of the event loop ends a process that neither runs nor ends."""

import subprocess
import sys
import textwrap

import pytest

DEADLINE_SECONDS = 60.0
PROGRAM = """
import asyncio, os, sys, threading, time
from consumer.service import event_loop_watchdog
event_loop_watchdog.END_SECONDS = 2.0

async def run(guard):
    beating = asyncio.create_task(guard.keep_beating())
{body}

with event_loop_watchdog.EventLoopWatchdog({seconds}) as guard:
    asyncio.run(run(guard))
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
beating.cancel()
guard.expect_end()
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
    """Run a program whose loop does this under a guard of so many seconds."""
    program = PROGRAM.format(body=textwrap.indent(body, "    "), seconds=seconds)
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_loop_that_runs_is_left_alone(seconds: float) -> None:
    """Longer than the limit, as long as it beats; with 0 it need not."""
    body = "await asyncio.sleep(2.8)" if seconds else "time.sleep(2.8)"
    done = run(body, seconds=seconds)
    assert (done.returncode, done.stdout) == (0, "ended by itself\n"), done.stderr


def test_a_blocked_loop_ends_the_process_and_shows_where() -> None:
    """Exit code 1, one clear line, and the stacks."""
    done = run("time.sleep(3600)", seconds=1)
    assert done.returncode == 1
    assert "the event loop has been blocked for 1 s" in done.stderr
    assert 'File "<string>", line' in done.stderr


@pytest.mark.parametrize("seconds", [0, 3600])
def test_an_end_that_never_comes_is_cut_short(seconds: float) -> None:
    """A task that will not be cancelled does not keep the process, watchdog or not."""
    done = run(CANCEL_IGNORED, seconds=seconds)
    assert done.returncode == 1
    assert "the end has lasted for 2 s" in done.stderr


def test_nobody_need_read_the_last_words() -> None:
    """A full pipe on standard error does not keep the process alive."""
    assert run(STDERR_BLOCKED, seconds=1).returncode == 1


def test_without_a_standard_error_it_watches_on() -> None:
    """A process started with its standard error closed is not ended for that."""
    program = PROGRAM.format(body="    await asyncio.sleep(2.8)", seconds=2)
    closed = f"import os; os.close(2); import sys; sys.stderr = None{program}"
    ended = subprocess.run(
        [sys.executable, "-c", closed], stdout=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=True
    )
    assert ended.stdout == b"ended by itself\n"
