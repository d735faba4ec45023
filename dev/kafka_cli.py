"""The local Kafka as a program: in the foreground (`run`), in the background (`start`, `stop`).

At most one cluster of a user runs in the background. The process that runs it holds a lock on the
state file. If another process cannot take this lock, it knows that the cluster runs. A stored
process id would not show that, because the id may belong to another program by now.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from dev import kafka_jars
from dev.kafka import LocalKafka
from dev.kafka_archive import make_archive
from dev.kafka_jars import LocalKafkaError
from dev.kafka_node import POLL_SECONDS, READY_SECONDS, STOP_SECONDS

DEFAULT_PORT = 9092
STOP_HINT = "stop it with: make kafka-stop"


class Background:
    """The state file of the cluster in the background."""

    def __init__(self) -> None:
        """Find the files in the cache folder."""
        self.path = kafka_jars.cache_dir() / "kafka.json"
        self.log = kafka_jars.cache_dir() / "kafka.log"

    def read(self) -> dict[str, object] | None:
        """Return the state of the cluster: None if none runs, empty while it starts."""
        try:
            with self.path.open("r+") as file:
                if _lock(file.fileno()):
                    return None
                content = file.read()
        except FileNotFoundError:
            return None
        state: dict[str, object] = json.loads(content) if content else {}
        return state

    def hold(self) -> int:
        """Take the lock, and return the file descriptor that holds it while this process lives.

        A reader also holds the lock for a moment, so this method retries for a second.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + 1.0
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                message = "a local Kafka runs in the background already"
                raise LocalKafkaError(message)
            time.sleep(POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        return descriptor


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(arguments: argparse.Namespace) -> None:
    """Run a cluster until SIGINT or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    held = Background().hold() if arguments.background else None
    kafka = LocalKafka(
        arguments.nodes,
        version=arguments.version,
        data_dir=arguments.data,
        port=arguments.port or None,
    )
    with kafka:
        state = {
            "pid": os.getpid(),
            "bootstrap_servers": kafka.bootstrap_servers,
            "nodes": arguments.nodes,
            "version": kafka.version,
        }
        if held is None:
            _say(f"{_describe(state)}; stop it with Ctrl-C")
        else:
            os.pwrite(held, json.dumps(state).encode(), 0)
        ended.wait()


def start(arguments: argparse.Namespace) -> None:
    """Start a cluster in the background, and wait until it is ready."""
    background = Background()
    if state := background.read():
        _say(f"{_describe(state)} already; {STOP_HINT}")
        return
    kafka_jars.kafka_jars(arguments.version)  # in this process, so that the user sees the download
    command = [sys.executable, str(Path(__file__).with_name("kafka.py")), "run", "--background"]
    command += ["--nodes", str(arguments.nodes), "--port", str(arguments.port)]
    command += ["--version", arguments.version]
    if arguments.data is not None:
        command += ["--data", str(arguments.data)]
    with background.log.open("wb") as log:
        keeper = subprocess.Popen(  # noqa: S603 - our own arguments
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + 2 * READY_SECONDS
    while not (state := background.read()):
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            message = f"the local Kafka did not start:\n{background.log.read_text()[-3000:]}"
            raise LocalKafkaError(message)
        time.sleep(POLL_SECONDS)
    _say(f"{_describe(state)}; {STOP_HINT}")


def stop(_: argparse.Namespace) -> None:
    """Stop the cluster in the background."""
    background = Background()
    state = background.read()
    if state is None:
        _say("no local Kafka runs in the background")
        return
    pid = state.get("pid")
    if not isinstance(pid, int):
        message = "the local Kafka is still starting: try again in a few seconds"
        raise LocalKafkaError(message)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_SECONDS
    while background.read() is not None:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # the brokers end with it
            break
        time.sleep(POLL_SECONDS)
    _say("the local Kafka has stopped")


def status(_: argparse.Namespace) -> None:
    """Print whether a cluster runs in the background, and its address."""
    state = Background().read()
    _say(f"{_describe(state)}; {STOP_HINT}" if state else "no local Kafka runs in the background")


def jars(arguments: argparse.Namespace) -> None:
    """Download the jars, so that later commands do not have to wait."""
    for version in kafka_jars.TESTED_VERSIONS if arguments.tested else (arguments.version,):
        kafka_jars.kafka_jars(version)


def versions(_: argparse.Namespace) -> None:
    """Print the versions of Apache Kafka that the service is tested with, newest first."""
    _say("\n".join(kafka_jars.TESTED_VERSIONS))


def archive(arguments: argparse.Namespace) -> None:
    """Create the archive of the broker's classes, with which brokers start in half the time."""
    make_archive(arguments.version)


def main() -> int:
    """Run one command. Print an error as one line."""
    parser = argparse.ArgumentParser(prog="python dev/kafka.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (run, start, stop, status, jars, archive, versions):
        sub = commands.add_parser(command.__name__, description=command.__doc__)
        sub.set_defaults(command=command)
        sub.add_argument(
            "--version", default=kafka_jars.kafka_version(), help="version of Apache Kafka"
        )
        if command is jars:
            sub.add_argument(
                "--tested", action="store_true", help="the jars of all tested versions"
            )
        if command in {run, start}:
            sub.add_argument("--nodes", type=int, choices=(1, 3), default=1)
            sub.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: any free port")
            sub.add_argument(
                "--data", type=Path, help="folder for the data (default: a temporary folder)"
            )
            sub.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except LocalKafkaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _describe(state: dict[str, object]) -> str:
    servers = str(state["bootstrap_servers"]).replace("127.0.0.1", "localhost")
    return f"Apache Kafka {state['version']} ({state['nodes']} node(s)) listens on {servers}"


def _say(line: str) -> None:
    print(line, flush=True)
