"""Runs one broker process: formats its data, starts it, waits until it is ready, and stops it.

Every broker ends with the process that started it. A process that ends normally stops its brokers.
For the case that the process gets SIGKILL, each broker has a watcher: a shell that waits until a
pipe from the process closes, and then kills the broker. (The kernel's parent-death signal would
come too early: when the *thread* that started the broker ends, not the process.)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dev.kafka_jars import LocalKafkaError, class_archive, java_command
from dev.kafka_settings import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dev.kafka_settings import NodeAddress

JAVA_FLAGS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
STARTED = b"Kafka Server started"
PORT_TAKEN = "Address already in use"
READY_SECONDS = 90.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 3000
WATCHER = """
read -r _
kill -KILL "$0"
[ -n "$1" ] || exit 0
sleep 1
rm -rf -- "$1"
rmdir -- "${1%/*}" 2>/dev/null # the last node's watcher succeeds
"""


class PortTakenError(LocalKafkaError):
    """Another process took one of the ports before the broker could listen on it."""


class KafkaNode:
    """One node of a local cluster, with its folder: settings, log and data."""

    def __init__(  # noqa: PLR0913 - the options of `LocalKafka`
        self,
        address: NodeAddress,
        folder: Path,
        jars: Path,
        *,
        temporary: bool,
        java_options: Sequence[str] = (),
        class_path: Sequence[Path] = (),
    ) -> None:
        """Prepare a node. `start` starts it. A temporary folder is deleted with the process."""
        self.address = address
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "broker.log"
        self._settings = folder / "server.properties"
        self._jars = jars
        self._temporary = temporary
        self._java_options = java_options
        self._class_path = class_path
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id while the broker runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def configure(self, properties: str) -> None:
        """Write the settings file. The next start reads it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(properties)

    def format(
        self, cluster_id: str, features: Mapping[str, int] | None = None
    ) -> subprocess.Popen[bytes] | None:
        """Start a process that formats the data folder. Return None if it is already formatted.

        `features` are the levels of features (KIP-1022) that differ from the defaults.
        """
        if (self.data / "meta.properties").exists():
            return None
        # One argument with "=", because a random id may begin with a dash.
        arguments = ["format", f"--cluster-id={cluster_id}", "--config", str(self._settings)]
        for feature, level in (features or {}).items():
            arguments += ["--feature", f"{feature}={level}"]
        return self._java(["kafka.tools.StorageTool", *arguments])

    def start(self) -> None:
        """Start the broker. `wait_until_ready` waits until it is ready."""
        if self.pid is not None:
            message = f"node {self.address.node} already runs"
            raise LocalKafkaError(message)
        self._reap()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._java(["kafka.Kafka", str(self._settings)])
        doomed = str(self.folder) if self._temporary else ""
        self._watcher = subprocess.Popen(  # noqa: S603 - our own arguments
            ["/bin/sh", "-c", WATCHER, str(self._process.pid), doomed],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_until_ready(self, deadline: float) -> None:
        """Wait until the log of the broker says that it has started.

        The broker writes this line after the controllers have elected a leader and the cluster has
        registered this node. A connection to its port would succeed earlier.

        Raises:
            LocalKafkaError: the broker is not ready in time. The message has the end of its log.
        """
        while STARTED not in self._new_log():
            if self.pid is None:
                tail = self._log_tail()
                failure = PortTakenError if PORT_TAKEN in tail else LocalKafkaError
                message = f"node {self.address.node} ended while it started; its log:\n{tail}"
                raise failure(message)
            if time.monotonic() > deadline:
                message = f"node {self.address.node} was not ready in time:\n{self._log_tail()}"
                raise LocalKafkaError(message)
            time.sleep(POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker. Raise LocalKafkaError if it does not run."""
        if self._process is None or self._process.poll() is not None:
            message = f"node {self.address.node} does not run"
            raise LocalKafkaError(message)
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM, also to a paused broker. `wait_until_stopped` waits for the end."""
        if self.pid is not None:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)

    def wait_until_stopped(self, deadline: float) -> None:
        """Wait for the end of the process, and kill it at the deadline."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """Kill the broker by SIGKILL: a crash."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def listener(self, name: str = CLIENTS) -> int:
        """Return the port of a listener."""
        return self.address.ports[name]

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
            if self._watcher.stdin is not None:
                self._watcher.stdin.close()
        self._process = self._watcher = None

    def _java(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own arguments
                [
                    java_command(),
                    *java_flags(self._jars),
                    *self._java_options,
                    f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
                    "-cp",
                    ":".join([f"{self._jars}/*", *map(str, self._class_path)]),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A separate session, because Ctrl-C in a terminal reaches the whole process group.
                # The broker must stop after its clients, when this program stops it.
                start_new_session=True,
            )

    def _new_log(self) -> bytes:
        if not self.log.exists():
            return b""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def _log_tail(self) -> str:
        return self._new_log()[-LOG_TAIL_BYTES:].decode(errors="replace")


def java_flags(jars: Path) -> list[str]:
    """Return the options of Java for a broker or a tool: little memory and a fast start."""
    archive = class_archive(jars)
    return [*JAVA_FLAGS, *([f"-XX:SharedArchiveFile={archive}"] if archive.exists() else [])]


def wait_for_formats(formats: Sequence[tuple[KafkaNode, subprocess.Popen[bytes]]]) -> None:
    """Wait until every data folder is formatted."""
    for node, process in formats:
        try:
            failed = process.wait(READY_SECONDS) != 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            failed = True
        if failed:
            tail = node.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
            message = f"node {node.address.node}: the data folder could not be formatted:\n{tail}"
            raise LocalKafkaError(message)


def remove_folder(folder: Path) -> None:
    """Remove a temporary folder. Retry while a broker still writes to it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(POLL_SECONDS)
