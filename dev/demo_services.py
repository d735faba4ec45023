"""The two service processes of the demo: started, killed, started again, stopped.

None of them outlives the demo, however that ends: a clean end stops them, and against SIGKILL each
has the same kind of watcher as a local broker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from dev.kafka_node import WATCHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PREFIX = "CHECKPOINT_READY_"
COMMAND_SECONDS = 60.0
STOP_SECONDS = 15.0
LOG_TAIL_BYTES = 2000
COMMITTED = b'"transaction_committed"'


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def service_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with these settings of the service and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | {PREFIX + name: value for name, value in settings.items()}


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run one of the service's commands to its end."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "consumer", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        command = " ".join(arguments)
        message = f"checkpoint-ready {command} ended with {done.returncode}:\n{done.stderr.strip()}"
        raise DemoError(message)


class ServiceProcess:
    """One `checkpoint-ready run`. A restart keeps its GROUP_INSTANCE_ID, as a pod would."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.state = "not started"
        self.log = folder / f"{name}.log"
        self._environment = {**environment, f"{PREFIX}GROUP_INSTANCE_ID": name}
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start it, or start it again."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "consumer", "run"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to the whole process group: the demo ends it itself.
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(  # noqa: S603 - our own arguments
            ["/bin/sh", "-c", WATCHER, str(self._process.pid), str(self.log.parent)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.state = "running" if self.state == "not started" else "running again"

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
        self._reap()
        self.state = "killed"

    @property
    def has_committed(self) -> bool:
        """Whether it has committed a transaction since its latest start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return COMMITTED in log.read()

    def require_alive(self) -> None:
        """Complain if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            message = f"{self.name} ended with {self._process.returncode}; its log:\n{self._tail()}"
            raise DemoError(message)

    def stop(self, others: Sequence[ServiceProcess] = ()) -> None:
        """Stop it (and others at the same time) by SIGTERM, each of which must exit with 0."""
        services = [self, *others]
        for service in services:
            if service._process is not None:  # noqa: SLF001 - the same class
                service._process.terminate()  # noqa: SLF001
        deadline = time.monotonic() + STOP_SECONDS
        failures = [failure for service in services if (failure := service._end(deadline))]  # noqa: SLF001
        if failures:
            raise DemoError("\n".join(failures))

    def _end(self, deadline: float) -> str | None:
        """Wait for the end, and kill it at the deadline; return what is wrong with it."""
        process = self._process
        if process is None:
            return None
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            code = None
        self._reap()
        self.state = "stopped"
        if code == 0:
            return None
        how = "did not end in time" if code is None else f"exited with {code}"
        return f"{self.name} was asked to stop and {how}; its log:\n{self._tail()}"

    def _reap(self) -> None:
        for process in (self._process, self._watcher):
            if process is not None:
                process.kill()
                process.wait()
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._process = self._watcher = None

    def _tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
