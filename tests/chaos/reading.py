"""Reading while brokers fail, and up to ends that new leaders may not know yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from tests.support.reader import Reader, end_offsets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka.admin import AdminClient

    from tests.support.reader import Place, Record

POLL_SECONDS = 0.1
# Small fetches: the checker shares the machine with brokers and services.
FETCHES: dict[str, Any] = {
    "fetch.wait.max.ms": 100,
    "fetch.message.max.bytes": 1_048_576,
    "queued.max.messages.kbytes": 16_384,
}


def tolerant_reader(
    settings: Mapping[str, Any], *topics: str, starts: Mapping[Place, int] | None = None
) -> Reader:
    """Return a reader of committed records that survives broker failures."""
    return Reader({**settings, **FETCHES}, *topics, starts=starts, tolerant=True)


def ends_of(
    admin: AdminClient, topic: str, passed: Mapping[int, int], deadline_seconds: float
) -> dict[int, int]:
    """Return the end offsets of a topic, uncommitted records included.

    A new leader may be behind, and a broker that has just started may not know all partitions. So
    this asks again until the ends reach the offsets that readers have `passed`, or the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        is_late = time.monotonic() > deadline
        try:
            ends = end_offsets(admin, topic)
        except (KafkaException, TimeoutError):  # the leader moves
            if is_late:
                raise
        else:
            if is_late or all(ends.get(p, 0) >= offset for p, offset in passed.items()):
                return ends
        time.sleep(POLL_SECONDS)


def read_to(
    settings: Mapping[str, Any],
    topic: str,
    ends: Mapping[int, int],
    quiet_seconds: float,
    starts: Mapping[Place, int] | None = None,
) -> Iterator[Record]:
    """Yield a topic's committed records up to these ends, from its start or from `starts`.

    Raises:
        AssertionError: nothing came for `quiet_seconds`, and the ends are not reached.
    """
    goal = {(topic, partition): end for partition, end in ends.items()}
    with tolerant_reader(settings, topic, starts=starts) as reader:
        deadline = time.monotonic() + quiet_seconds
        while missing := reader.missing(goal):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{topic} cannot be read to its end, a transaction is open or a broker is "
                    f"down: {missing}"
                )
            before = {place: reader.position(*place) for place in goal}
            yield from reader.poll(POLL_SECONDS)
            if any(reader.position(*place) != at for place, at in before.items()):
                deadline = time.monotonic() + quiet_seconds
