"""Runs commands as a user does, with variables and arguments, and returns output and exit code."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from consumer.config import PREFIX
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAM = (sys.executable, "-m", "consumer")
DEADLINE_SECONDS = 60.0
TERMINAL_ROWS, TERMINAL_COLUMNS = 40, 180
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Finished(NamedTuple):
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command wrote
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        """Standard output, which must be JSON lines and nothing else."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def complaints(self) -> list[str]:
        """The lines of standard error, which must not contain a traceback."""
        assert "Traceback" not in self.stderr + self.stdout, self.stderr + self.stdout
        return self.stderr.splitlines()

    @property
    def complaint(self) -> str:
        """The one line of standard error."""
        assert len(self.complaints) == 1, self.complaints
        return self.complaints[0]


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the variables of a process: those of this one, and `settings` with the prefix."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    # No fixed port: a process of another test may use it.
    ours = {"HTTP_PORT": 0, **settings}
    return inherited | {f"{PREFIX}{name}": str(value) for name, value in ours.items()}


def run_command(
    *arguments: str,
    stdin: bytes = b"",
    deadline_seconds: float = DEADLINE_SECONDS,
    **settings: object,
) -> Finished:
    """Run a command to its end; its input and output are pipes, not a terminal."""
    began = time.monotonic()
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env=environment(settings),
        input=stdin,
        capture_output=True,
        timeout=deadline_seconds,
        check=False,
    )
    seconds = time.monotonic() - began
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode(), seconds)


def run_at_once(*commands: Callable[[], Finished]) -> list[Finished]:
    """Run commands in parallel and return the result of each."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return [future.result() for future in [pool.submit(command) for command in commands]]


def run_with_closed_output(*arguments: str, **settings: object) -> Finished:
    """Run a command and close its output after the first line."""
    began = time.monotonic()
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        process.wait(DEADLINE_SECONDS)
    seconds = time.monotonic() - began
    return Finished(process.returncode, first.decode(), said.decode(), seconds)


def run_in_terminal(*arguments: str, **settings: object) -> Finished:
    """Run a command on a terminal and return its text without colours and cursor movements."""
    done = run_in_raw_terminal(arguments, settings)
    return done._replace(stdout=ESCAPE_SEQUENCE.sub("", done.stdout).replace("\r\n", "\n"))


def run_in_raw_terminal(
    arguments: Sequence[str], settings: Mapping[str, object], stdin: bytes | None = None
) -> Finished:
    """Run a command on a terminal and return all that it writes; `stdin` comes from a file."""
    began = time.monotonic()
    ours, theirs = pty.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, struct.pack("HHHH", TERMINAL_ROWS, TERMINAL_COLUMNS, 0, 0)
    )
    variables = environment(settings) | {"TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES"):  # the size of another terminal: a shell's, or pytest's
        variables.pop(name, None)
    with (
        tempfile.TemporaryFile() as given,
        subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=ROOT,
            env=variables,
            stdin=theirs if stdin is None else _filled(given, stdin),
            stdout=theirs,
            stderr=theirs,
        ) as process,
    ):
        os.close(theirs)
        deadline = threading.Timer(DEADLINE_SECONDS, process.kill)
        deadline.start()
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # EIO: the last process on the terminal has closed it
            pass
        process.wait()
        deadline.cancel()
    os.close(ours)
    return Finished(process.returncode, seen.decode(), "", time.monotonic() - began)


def _filled(file: IO[bytes], content: bytes) -> IO[bytes]:
    file.write(content)
    file.seek(0)
    return file
