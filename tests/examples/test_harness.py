"""No program that the harness starts outlives the test, and neither does what it has started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.harness import Example
from tests.support.child_process import ROOT
from tests.support.waiting import wait_until

# It prints the process id of a program that runs much longer than the test.
STARTER = ("/bin/sh", "-c", """sleep 600 & echo "{\\"id\\": \\"$!\\"}"; wait""")
KILLED_TEST = """
import os, signal
from tests.examples.harness import Example
with Example("starter", {command!r}).start("unused", "unused", group="unused") as running:
    print(running.wait_for_lines(1)[0]["id"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_end_of_the_context_ends_all_programs() -> None:
    """The program that the example has started ends too."""
    with Example("starter", STARTER).start("unused", "unused", group="unused") as running:
        (line,) = running.wait_for_lines(1)
        assert is_running(line["id"])
    wait_until(lambda: not is_running(line["id"]), what="the end of the program")


def test_sigkill_of_the_test_ends_all_programs() -> None:
    """The watcher ends both programs if the test itself is killed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_TEST.format(command=STARTER)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    process_id = done.stdout.strip()
    wait_until(lambda: not is_running(process_id), what="the end of the program")


def test_a_program_that_ends_early_fails_with_its_error() -> None:
    """The message has what the program wrote to standard error."""
    command = ("/bin/sh", "-c", "echo reason >&2; exit 3")
    with (
        Example("ending", command).start("unused", "unused", group="unused") as running,
        pytest.raises(AssertionError, match="reason"),
    ):
        running.wait_for_lines(1)


def is_running(process_id: str) -> bool:
    """Return whether this process exists and has not ended."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
