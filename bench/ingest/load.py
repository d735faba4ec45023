"""Puts load on a receiver by wrk, which a Lua script gives prepared requests."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from dev.toolchains import ToolchainError
from tests.support.child_process import ROOT

SCRIPT: Final = Path(__file__).with_name("load.lua")
START_SECONDS: Final = 60


class LoadFigures(msgspec.Struct):
    """What wrk has counted."""

    answers: int
    microseconds: int
    refused: int
    """Answers with a status of 400 or more."""
    failed: int
    """Connections, reads and writes that failed, and requests without an answer."""
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.microseconds / 1e6


def wrk() -> str:
    """Return the path of wrk, and install it if that is possible.

    Raises:
        ToolchainError: wrk is missing. The message says how to install it.
    """
    done = subprocess.run(
        [str(ROOT / "dev" / "ensure-wrk")], check=False, capture_output=True, text=True
    )
    found = shutil.which("wrk")
    if found is None:
        raise ToolchainError(done.stderr.strip() or "wrk is not installed")
    return found


def put_load(
    program: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: int
) -> LoadFigures:
    """Send the requests in turn to a port of this machine for some seconds.

    Each connection has one request in progress at any time. wrk uses one thread.

    Raises:
        ToolchainError: wrk failed.
    """
    with tempfile.NamedTemporaryFile() as file:
        for request in requests:
            file.write(b"%010d" % len(request) + request)
        file.flush()
        options = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
        script = ["--timeout=30s", "--script", str(SCRIPT), f"http://127.0.0.1:{port}"]
        done = subprocess.run(
            [program, *options, *script, "--", file.name],
            check=False,
            capture_output=True,
            timeout=seconds + START_SECONDS,
        )
    if done.returncode != 0:
        raise ToolchainError(f"wrk failed: {done.stderr.decode()[-1000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=LoadFigures)
