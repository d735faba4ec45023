"""The programs that are measured: receivers, also of another checkout, and the bare handler."""

import http.client
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.ingest.senders import write_configuration
from bench.peers.broker import Broker, running_on
from consumer.config import PREFIX
from dev.free_ports import free_ports
from tests.support.child_process import DISCARD, END_SECONDS, ROOT, ChildProcess
from tests.support.deployment import Deployment
from tests.support.waiting import wait_until

BARE: Final = "bare handler"
PROBE_SECONDS: Final = 5


class Measured(NamedTuple):
    """A running program."""

    name: str
    process: ChildProcess
    port: int


@contextmanager
def bare_handler(broker: Broker) -> Iterator[Measured]:
    """Run the bare handler on the core of the receivers."""
    (port,) = free_ports(1)
    with running_on(broker.cores.contender):
        process = ChildProcess(
            [sys.executable, "-m", "bench.ingest.bare", str(port)], log=DISCARD, folder=ROOT
        )
    with _stopped(process):
        wait_until(lambda: _answers(port, "/", 202), what="the bare handler")
        yield Measured(BARE, process, port)


@contextmanager
def receiver(broker: Broker, deployment: Deployment, name: str, folder: Path) -> Iterator[Measured]:
    """Run the receiver of a checkout on its core. Its log is discarded."""
    port, probes = free_ports(2)
    with tempfile.TemporaryDirectory() as files:
        config = write_configuration(Path(files), port)
        with running_on(broker.cores.contender):
            process = ChildProcess(
                [sys.executable, "-m", "consumer", "ingest", "--config", str(config)],
                {**deployment.environment, f"{PREFIX}HTTP_PORT": str(probes)},
                log=DISCARD,
                folder=folder,
            )
        with _stopped(process):
            wait_until(
                lambda: process.has_ended or _answers(probes, "/readyz", 200),
                what=f"the receiver {name}",
            )
            yield Measured(name, process, port)


@contextmanager
def _stopped(process: ChildProcess) -> Iterator[None]:
    try:
        yield
    finally:
        process.stop(END_SECONDS)


def _answers(port: int, path: str, status: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == status
    except OSError:
        return False
    finally:
        connection.close()
