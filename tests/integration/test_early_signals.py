"""Ctrl-C and SIGTERM at any moment of a command's start: an exit code, and never a traceback."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dev.free_ports import free_ports
from tests.support.child_process import ROOT
from tests.support.command_line import PROGRAM, environment
from tests.support.provider_server import KEY
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = (
    ("run",),
    ("acls",),
    ("pipe",),
    ("topics", "check"),
    ("config",),
    ("tail",),
    ("schema", "export"),
    ("replay",),
    ("backfill", "pyproject.toml"),
    ("dead-letters", "list"),
    ("poll", "--config", "{folder}/accounts.toml"),
    ("ingest", "--config", "{folder}/ingest-{moment}.toml"),
)
# Until its modules are loaded a command takes about half a second.
LATEST_MS = 700
MOMENTS = 5
AT_ONCE = 3
CAUGHT = "SigCgt:"


class Ended(NamedTuple):
    """How a command has ended."""

    command: tuple[str, ...]
    after_ms: int
    exit_code: int
    complaints: str


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """Listen at an address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write the configurations that commands need; each receiver has a port of its own."""
    (tmp_path / "key").write_text(KEY)
    account = '[[accounts]]\nname = "acme"\nkind = "openai"\nkey_file = "key"\n'
    (tmp_path / "accounts.toml").write_text(f'{account}base_url = "http://127.0.0.1:9/v1"\n')
    for moment, port in enumerate(free_ports(MOMENTS)):
        text = f"port = {port}\n[checkpoints]\nanonymous = true\n"
        (tmp_path / f"ingest-{moment}.toml").write_text(text)
    return tmp_path


def arguments(command: tuple[str, ...], folder: Path, moment: int) -> tuple[str, ...]:
    """Return the command with the paths of its files."""
    return tuple(word.format(folder=folder, moment=moment) for word in command)


def is_handled(pid: int) -> bool:
    """Tell whether the process has a handler for SIGTERM, which the interpreter never sets."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (caught,) = [line.split()[1] for line in lines if line.startswith(CAUGHT)]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def interrupted(
    command: tuple[str, ...], sent: signal.Signals, after_ms: int, broker: str
) -> Ended:
    """Start a command, send it the signal so long after its first statement, and wait."""
    with subprocess.Popen(
        [*PROGRAM, *command],
        cwd=ROOT,
        env=environment({"BOOTSTRAP_SERVERS": broker, "LOG_FORMAT": "json"}),
        stdin=subprocess.PIPE,  # nothing comes, and it stays open
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            wait_until(
                lambda: process.poll() is not None or is_handled(process.pid),
                what="a handler",
                poll_seconds=0.001,
            )
            time.sleep(after_ms / 1000)  # the moment is what is tested; nothing is awaited
            process.send_signal(sent)
            process.wait(20)
            complaints = process.stderr.read().decode() if process.stderr else ""
        finally:
            process.kill()
    return Ended(command, after_ms, process.returncode, complaints)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_no_traceback(
    silent_broker: str, files: Path, sent: signal.Signals
) -> None:
    """The service ends with 0, every other command with 130 or 143, unless it is done before."""
    step_ms = LATEST_MS // MOMENTS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [
            pool.submit(
                interrupted, arguments(command, files, moment), sent, after_ms, silent_broker
            )
            for number, command in enumerate(COMMANDS)
            for moment, after_ms in enumerate(
                range(number * step_ms // len(COMMANDS), LATEST_MS, step_ms)
            )
        ]
    wrong = []
    for ended in (future.result() for future in running):
        expected = {0} if ended.command == ("run",) else {0, 128 + sent}
        lines = ended.complaints.splitlines()
        is_clean = all(line.startswith("checkpoint-ready: ") for line in lines)
        if ended.exit_code not in expected or not is_clean:
            wrong.append(ended)
    assert not wrong
