"""The receiver is killed, stopped, or loses the broker: what it has accepted is published once."""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from dev.kafka import LocalKafka
from tests.integration.open_transaction import NO_TIMED_OUT_TRANSACTIONS
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.http_client import ask
from tests.support.ingest import TOKEN, Ingest, post, start_ingest
from tests.support.records import checkpoint
from tests.support.verdicts import assert_exactly_once, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.topics import Names

SENDERS, KILLS = 4, 3
SHORT = "delivery_seconds = 2\n"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


class Sender(threading.Thread):
    """Sends single checkpoints and batches in turn, and remembers what was accepted."""

    def __init__(self, number: int, port: int) -> None:
        """Make a sender; `port` may be served by one process after the other."""
        super().__init__(name=f"sender-{number}", daemon=True)
        self.accepted: list[str] = []
        self.sent: list[str] = []
        self.statuses: set[int] = set()
        self._stop_asked = threading.Event()
        self._number, self._port = number, port

    def run(self) -> None:
        """Send until stopped; connect again after each error."""
        while not self._stop_asked.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            with contextlib.suppress(OSError, http.client.HTTPException):
                while not self._stop_asked.is_set():
                    self._send(connection)
            connection.close()

    def stop(self) -> None:
        """End after the current request."""
        self._stop_asked.set()
        self.join(30)
        assert not self.is_alive()

    def _send(self, connection: http.client.HTTPConnection) -> None:
        begin = len(self.sent)
        ids = [f"ftckpt_{self._number}_{begin + index:06}" for index in range(1 + begin % 7)]
        self.sent += ids
        body = b"\n".join(map(checkpoint, ids))
        reply = post(connection, body, "application/x-ndjson", **AUTHORIZATION)
        self.statuses.add(reply.status)
        if reply.status == http.client.ACCEPTED:
            self.accepted += ids


def start_senders(port: int) -> list[Sender]:
    """Start all senders."""
    senders = [Sender(number, port) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    return senders


def accepted(senders: list[Sender]) -> list[str]:
    """Return the ids of all accepted requests."""
    return [one for sender in senders for one in sender.accepted]


def assert_accepted_are_published_once(
    cluster: Cluster, names: Names, senders: list[Sender]
) -> None:
    """Check that each accepted id is published, no id twice, and no other than the sent ones."""
    wait_until_handled(cluster, names)
    published = [event_id(record) for record in cluster.read(names.topic("ready"))]
    assert len(set(published)) == len(published)
    assert set(accepted(senders)) <= set(published)
    assert set(published) <= {one for sender in senders for one in sender.sent}


def test_what_was_accepted_survives_kills(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """The process is killed under load, at random; the senders go on with the next process."""
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        ingest = start_ingest(deployment, tmp_path)
        senders = start_senders(ingest.port)
        process = ingest.process
        for _ in range(KILLS):
            goal = len(accepted(senders)) + random.randint(100, 600)  # noqa: S311 - any moment
            wait_until(lambda goal=goal: len(accepted(senders)) > goal, what="accepted requests")  # type: ignore[misc]
            process.kill()
            process = deployment.restart(process)
        goal = len(accepted(senders)) + 100
        wait_until(lambda: len(accepted(senders)) > goal, what="accepted requests at the end")
        for sender in senders:
            sender.stop()
        assert_accepted_are_published_once(cluster, names, senders)
        assert service.terminate() == 0


def test_a_stop_finishes_what_was_accepted(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """After SIGTERM each request that was being handled gets its answer, and the exit code is 0."""
    with Deployment(cluster, names) as deployment:
        ingest = start_ingest(deployment, tmp_path)
        body = checkpoint("ftckpt_slow")
        connection = http.client.HTTPConnection("127.0.0.1", ingest.port, timeout=20)
        connection.putrequest("POST", "/v1/checkpoints")
        for name, value in (*AUTHORIZATION.items(), ("Content-Type", "application/json")):
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        wait_until(lambda: _reserved_bytes(ingest) > 0, what="the begin of a request")
        ingest.process.signal(signal.SIGTERM)
        ingest.process.wait_for_log("ingest_stopping")
        connection.send(body[10:])
        assert connection.getresponse().status == 202
        connection.close()
        assert ingest.process.wait() == 0
        (record,) = cluster.read(deployment.input_topic)
        assert record.value == body


def _reserved_bytes(ingest: Ingest) -> float:
    text = ask(ingest.probes, "/metrics").text
    return float(text.split("\ncheckpoint_ready_ingest_memory_bytes ")[1].split()[0])


@pytest.mark.timeout(240)
def test_the_broker_is_killed_under_load(
    local_brokers: None,  # noqa: ARG001 - for its effect
    names: Names,
    tmp_path: Path,
) -> None:
    """Meanwhile the answer is 503 with Retry-After; later all goes on without a new process.

    The service starts after the outage. If the only broker is killed while the service commits, the
    broker can leave this transaction hanging (docs/protocol.md), which has tests of its own.
    """
    with LocalKafka(properties=NO_TIMED_OUT_TRANSACTIONS) as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names) as deployment:
            ingest = start_ingest(deployment, tmp_path, limits=SHORT)
            senders = start_senders(ingest.port)
            wait_until(lambda: len(accepted(senders)) > 200, what="accepted requests")
            kafka.kill(1)
            wait_until(lambda: all(503 in one.statuses for one in senders), what="refusals")
            reply = ingest.post(checkpoint("ftckpt_refused"))
            assert (reply.status, int(reply.headers["retry-after"]) > 0) == (503, True)
            wait_until(lambda: not ingest.is_ready(), what="a receiver that is not ready")
            kafka.restart(1)
            wait_until(ingest.is_ready, 60, what="a ready receiver")
            goal = len(accepted(senders)) + 100
            wait_until(lambda: len(accepted(senders)) > goal, 60, what="accepted requests")
            for sender in senders:
                sender.stop()
            senders[0].sent.append("ftckpt_refused")
            service = deployment.start()
            assert_accepted_are_published_once(cluster, names, senders)
            assert {status for one in senders for status in one.statuses} == {202, 503}
            # A sender that repeats what was refused never causes a second event.
            assert ingest.post(checkpoint("ftckpt_refused")).status == 202
            everything = sorted({one for sender in senders for one in sender.sent})
            for begin in range(0, len(everything), 1000):
                body = b"\n".join(map(checkpoint, everything[begin : begin + 1000]))
                assert ingest.post(body, "application/x-ndjson").status == 202
            assert_exactly_once(cluster, names, everything)
            assert ingest.process.terminate() == 0
            assert service.terminate() == 0
