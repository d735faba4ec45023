"""The image as a running service: started, watched by its log, stopped by SIGTERM.

`podman run` stays in the foreground, so its output is the service's and its exit code too. Against
SIGKILL of this program a shell waits for the end of a pipe and then removes the container.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Self

from dev.image_base import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dev.image_engine import Podman

START_SECONDS = 60.0
# More than a good end takes, for one that takes too long is to be told in seconds.
END_SECONDS = 30.0
POLL_SECONDS = 0.01
LOG_TAIL_BYTES = 3000
RUNNING = b'"state":"running"'
WATCHER = 'read -r _; exec "$@" rm --force --ignore --time 0 "$0" >/dev/null 2>&1'


class Container:
    """One `checkpoint-ready run` in a container."""

    def __init__(
        self, podman: Podman, name: str, environment: Mapping[str, str], folder: Path
    ) -> None:
        """Start it."""
        self._podman = podman
        self._name = name
        self._log = folder / f"{name}.log"
        self.started_at = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                podman.run_arguments(environment, f"--name={name}"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(  # noqa: S603 - our own arguments
            ["/bin/sh", "-c", WATCHER, name, *podman.command],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it, whatever state it is in."""
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()
        self._process.wait()

    def wait_until_running(self) -> float:
        """Wait for the first shard that runs; return the seconds since the start."""
        deadline = self.started_at + START_SECONDS
        while RUNNING not in self._log.read_bytes().replace(b" ", b""):
            self.require_alive()
            if time.monotonic() > deadline:
                raise ImageError(f"no shard runs; the log:\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - self.started_at

    def require_alive(self) -> None:
        """Complain if it has ended by itself."""
        if (code := self._process.poll()) is not None:
            raise ImageError(f"the container ended with {code}; its log:\n{self.tail()}")

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM to its first process; return the exit code and the seconds it took."""
        began = time.monotonic()
        self._podman.call("kill", "--signal=TERM", self._name)
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ImageError(f"SIGTERM does not end it; its log:\n{self.tail()}") from None
        return code, time.monotonic() - began

    def tail(self) -> str:
        """Return the end of its log."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
