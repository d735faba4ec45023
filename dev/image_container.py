"""Runs the image as a service: starts it, reads its log, stops it by SIGTERM.

`podman run` stays in the foreground, so its output and exit code are those of the service. A shell
waits until a pipe from this program closes, and then removes the container. So the container ends
even if this program gets SIGKILL.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from dev.image_base import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from dev.image_chart import Pod
    from dev.image_engine import Podman

START_SECONDS = 60.0
# Longer than the limit that the test checks, so that a slow shutdown is reported with its duration.
END_SECONDS = 30.0
POLL_SECONDS = 0.01
PROBE_SECONDS = 5.0
LOG_TAIL_BYTES = 3000
RUNNING = b'"state":"running"'
WATCHER = 'read -r _; exec "$@" rm --force --ignore --time 0 "$0" >/dev/null 2>&1'


class Container:
    """One `checkpoint-ready run` in a container."""

    def __init__(self, podman: Podman, name: str, pod: Pod, folder: Path) -> None:
        """Start the container."""
        self._port = pod.port
        self._podman = podman
        self._name = name
        self._log = folder / f"{name}.log"
        self.started_at = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                podman.run_arguments(
                    pod.environment, pod.arguments, *pod.options, f"--name={name}"
                ),
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
        """Remove the container, whether or not it runs."""
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()
        self._process.wait()

    def wait_until_running(self) -> float:
        """Wait until a shard runs. Return the seconds since the start."""
        deadline = self.started_at + START_SECONDS
        while RUNNING not in self._log.read_bytes().replace(b" ", b""):
            self.require_alive()
            if time.monotonic() > deadline:
                raise ImageError(f"no shard is running; the log:\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - self.started_at

    def wait_until_ok(self, path: str) -> None:
        """Wait until a request of this path returns 200."""
        deadline = time.monotonic() + START_SECONDS
        while (answer := self._ask(path)) is None or answer[0] != HTTPStatus.OK:
            self.require_alive()
            if time.monotonic() > deadline:
                raise ImageError(f"{path} answers {answer}; the log:\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def metric(self, path: str, name: str) -> float:
        """Return the only sample of a metric."""
        _, text = self._ask(path) or (0, "")
        found = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        if len(found) != 1:
            raise ImageError(f"{path} has no {name}")
        return float(found[0].split()[1])

    def logged(self, event: str) -> dict[str, Any]:
        """Return the first log line about an event."""
        for line in self._log.read_bytes().splitlines():
            fields: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {}
            if fields.get("event") == event:
                return fields
        raise ImageError(f"it has not logged {event}; the log:\n{self.tail()}")

    def _ask(self, path: str) -> tuple[int, str] | None:
        """Return status and text of a response, or None without a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return None
        finally:
            connection.close()

    def require_alive(self) -> None:
        """Raise if the container has ended."""
        if (code := self._process.poll()) is not None:
            raise ImageError(f"the container ended with {code}; its log:\n{self.tail()}")

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM to its first process. Return the exit code and the seconds until the end."""
        began = time.monotonic()
        self._podman.call("kill", "--signal=TERM", self._name)
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ImageError(
                f"the container did not end after SIGTERM; its log:\n{self.tail()}"
            ) from None
        return code, time.monotonic() - began

    def tail(self) -> str:
        """Return the end of its log."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
