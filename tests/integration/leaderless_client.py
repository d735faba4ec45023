"""A librdkafka client beside the service, for a topic with a partition that has no leader.

python -m tests.integration.leaderless_client read SERVERS TOPIC PARTITION…
python -m tests.integration.leaderless_client write SERVERS TOPIC PARTITION…

It is a process of its own: librdkafka 2.16.0 can crash if an answer names a partition without a
leader (confluentinc/librdkafka issue 5280). Then its figure is the crash, and no test fails for it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support.records import checkpoint
from tests.support.service_process import ServiceProcess
from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

MODULE = "tests.integration.leaderless_client"
BEGAN = "began"
WAIT_SECONDS = 15.0
POLL_SECONDS = 0.1


class LeaderlessClient:
    """The process; a context manager that ends it."""

    def __init__(self, mode: str, servers: str, topic: str, partitions: Iterable[int]) -> None:
        """Start to read the partitions from their start, or send one record to each of them."""
        command = [MODULE, mode, servers, topic, *map(str, partitions)]
        self._process = ServiceProcess(command, os.environ)

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process."""
        self._process.close()

    def seconds(self, wanted: Iterable[str], since: float | None = None) -> str:
        """Return after how many seconds all of these things were done, or why they were not.

        The seconds count from `since` (s since the epoch), or from the first sending.
        """
        missing = frozenset(wanted)

        def done() -> dict[str, float] | bool:
            found = {line["what"]: line["at"] for line in self._process.logged("done")}
            return found if missing <= found.keys() else self._process.has_ended

        try:
            found = wait_until(done, WAIT_SECONDS)
        except DeadlineExceeded:
            return f"not within {WAIT_SECONDS:g} s"
        if not isinstance(found, dict):
            return f"ended with exit code {self._process.wait()}"
        begin = found[BEGAN] if since is None else since
        return f"{max(found[each] for each in missing) - begin:.2f} s"


def report(what: str) -> None:
    """Print a line with the present time."""
    print(json.dumps({"event": "done", "what": what, "at": time.time()}), flush=True)  # noqa: T201 - the output


def read(settings: dict[str, Any], topic: str, partitions: list[int]) -> None:
    """Report the id of each record, until the process is killed."""
    consumer = Consumer({**settings, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    while True:
        for message in consumer.consume(100, POLL_SECONDS):
            if message.error() is None:
                report(str(json.loads(message.value() or b"")["id"]))


def write(settings: dict[str, Any], topic: str, partitions: list[int]) -> None:
    """Send a record to each partition and report the partition of each delivery."""
    producer = Producer({**settings, "enable.idempotence": True})

    def delivered(error: object, message: Any) -> None:  # noqa: ANN401 - of librdkafka
        if error is None:
            report(str(message.partition()))

    report(BEGAN)
    for number in partitions:
        producer.produce(topic, checkpoint("x"), partition=number, on_delivery=delivered)
    while True:
        producer.poll(POLL_SECONDS)


def main() -> None:
    """Run until the process is killed."""
    mode, servers, topic, *partitions = sys.argv[1:]
    settings = {"bootstrap.servers": servers, "broker.address.family": "v4", "log_level": 2}
    run = {"read": read, "write": write}[mode]
    run(settings, topic, list(map(int, partitions)))


if __name__ == "__main__":
    main()
