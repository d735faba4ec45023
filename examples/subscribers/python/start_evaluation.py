"""Starts an evaluation of a checkpoint: a command that gets the event on standard input.

The command also gets the quoted id in the variable CHECKPOINT_ID. It must accept an id that it has
evaluated before: `actions.py` says when that happens.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ready_event import ReadyEvent


# Linux starts no program with a variable of more than 128 KiB.
MAX_ID_CHARACTERS = 100_000


class EvaluationError(Exception):
    """The command failed, or took too long."""


class EvaluationStarter:
    """Runs the command for each event."""

    def __init__(self, command: str, timeout_seconds: float) -> None:
        """Set the command, which is split as a shell does, and its time limit."""
        self._command = shlex.split(command)
        self._timeout_seconds = timeout_seconds

    def __call__(self, event: ReadyEvent) -> None:
        """Run the command and wait for its end.

        Raises:
            EvaluationError: it cannot be started, it took too long, or its exit code is not 0.
        """
        try:
            done = subprocess.run(
                self._command,
                input=event.json,
                encoding="utf-8",
                env=os.environ | _variables(event),
                stdout=sys.stderr,  # standard output has the lines of the subscriber
                timeout=self._timeout_seconds,
                check=False,
                process_group=0,  # a Ctrl-C in the terminal must not end the evaluation
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EvaluationError(f"the evaluation of {event.id} failed: {error}") from error
        if done.returncode != 0:
            raise EvaluationError(f"the evaluation of {event.id} ended with {done.returncode}")


def _variables(event: ReadyEvent) -> dict[str, str]:
    """Return the id, or nothing if it is too long: the event on standard input has it too."""
    quoted = event.quoted_id
    return {"CHECKPOINT_ID": quoted} if len(quoted) <= MAX_ID_CHARACTERS else {}
