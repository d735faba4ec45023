"""Checkpoints to produce, a stream of them, and the judge of what became visible."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaError, KafkaException, Producer

from consumer.pipeline.routing import home
from tests import builders
from tests.integration.new_record import NewRecord
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.integration.cluster import Cluster, Names
    from tests.integration.subscriber import Record

HANDLED_SECONDS = 45.0
# On its way to serve; librdkafka calls these final.
COORDINATOR_MOVES = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
REPEAT_EVERY = 3


def checkpoint(checkpoint_id: str, *, job: str = "ftjob-1", **fields: object) -> bytes:
    """Return a checkpoint as a producer sends it; `fields` replace or add."""
    document = builders.checkpoint(id=checkpoint_id, fine_tuning_job_id=job, **fields)
    return json.dumps(document).encode()


def numbered_ids(count: int, prefix: str = "ftckpt") -> list[str]:
    """Return distinct ids."""
    return [f"{prefix}_{number:05}" for number in range(count)]


def scattered(ids: Iterable[str]) -> list[NewRecord]:
    """Return a record of each id under a random key, and so on a random partition."""
    return [NewRecord(checkpoint(one), os.urandom(8)) for one in ids]


def ids_at_home(shard: int, shards: int, count: int, prefix: str = "home") -> list[str]:
    """Return ids that this shard decides about."""
    numbers = range(1_000_000)
    ids = (f"{prefix}_{shard}_{number}" for number in numbers)
    mine = (one for one in ids if home(one, shards) == shard)
    return [next(mine) for _ in range(count)]


def repeated(name: str, number: int, ids: list[str]) -> str:
    """Return a new id, or every third time one from the middle of those there are."""
    return ids[len(ids) // 2] if ids and number % REPEAT_EVERY == 0 else f"{name}_{number:05}"


class Stream:
    """Produces in the background, a record every few milliseconds; a context manager.

    Every third record repeats an id under another key. With `shards` each record goes to the
    partition of its home shard instead, round the shards, and nothing is repeated.
    """

    def __init__(
        self, cluster: Cluster, topic: str, *, pause_ms: float = 10, shards: int | None = None
    ) -> None:
        """Describe it; entering the context starts it."""
        self.ids: list[str] = []
        self._producer = Producer({**cluster.settings, "linger.ms": 0, "enable.idempotence": True})
        self._topic = topic
        self._pause_seconds = pause_ms / 1000
        self._shards = shards
        self._stopped = threading.Event()
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._produce)

    def __enter__(self) -> Self:
        """Start producing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and wait until everything is delivered."""
        self._stopped.set()
        self._thread.join()
        assert self._producer.flush(HANDLED_SECONDS) == 0
        assert not self._failures

    def wait_for_more(self, count: int) -> None:
        """Return when so many ids more than now have been produced."""
        goal = len(self.ids) + count
        wait_until(lambda: len(self.ids) >= goal, what=f"{count} more records of the stream")

    def _produce(self) -> None:
        next_record = (
            self._anywhere if self._shards is None else self._round_the_shards(self._shards)
        )
        number = 0
        # The pause is the pace of the stream; nothing is awaited by it.
        while not self._stopped.wait(self._pause_seconds):
            number += 1
            record = next_record(number)
            self._producer.produce(
                self._topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                on_delivery=self._delivered,
            )
            self._producer.poll(0)

    def _anywhere(self, number: int) -> NewRecord:
        one = repeated("stream", number, self.ids)
        if number % REPEAT_EVERY:
            self.ids.append(one)
        return NewRecord(checkpoint(one), os.urandom(8))

    def _round_the_shards(self, shards: int) -> Callable[[int], NewRecord]:
        waiting: list[list[str]] = [[] for _ in range(shards)]
        fresh = iter(f"steady_{number:05}" for number in range(1_000_000))

        def next_record(number: int) -> NewRecord:
            shard = number % shards
            while not waiting[shard]:
                one = next(fresh)
                waiting[home(one, shards)].append(one)
            chosen = waiting[shard].pop()
            self.ids.append(chosen)
            return NewRecord(checkpoint(chosen), chosen.encode(), shard)

        return next_record

    def _delivered(self, error: Any, _: object) -> None:  # noqa: ANN401 - librdkafka's own
        if error is not None:
            self._failures.append(str(error))


def event_id(record: Record) -> str:
    """Return the checkpoint id of a ready event."""
    return str(document(record)["id"])


def document(record: Record) -> dict[str, Any]:
    """Return a record's JSON object."""
    found = json.loads(record.value or b"")
    assert isinstance(found, dict)
    return found


def shard_of(record: Record) -> int:
    """Return the shard that published a ready event, as its header says."""
    place = (record.header("checkpoint-ready.shard") or b"").decode()
    return int(place.split("/")[1])


def lags(cluster: Cluster, names: Names) -> dict[tuple[str, int], int]:
    """Return where the group's committed offsets lie before the end, and by how much."""
    group = names.group()
    # Raises until the coordinator serves: librdkafka ends the process with a segmentation fault
    # (its issue 5040) when ListConsumerGroupOffsets, which comes next, is told NOT_COORDINATOR.
    cluster.group_members(group)
    committed = cluster.group_offsets(group)
    # The ends are asked for after the offsets: no lag then means no lag at that time.
    ends = {
        (topic, partition): end
        for topic in (names.topic("input"), f"{group}.repartition")
        for partition, end in cluster.end_offsets(topic).items()
    }
    behind = {at: end - committed.get(at, 0) for at, end in ends.items()}
    return {at: lag for at, lag in behind.items() if lag}


def wait_until_handled(
    cluster: Cluster, names: Names, deadline_seconds: float = HANDLED_SECONDS
) -> None:
    """Wait until the service has handled every record of its input and its own forwards."""
    seen: dict[tuple[str, int], int] = {}

    def is_handled() -> bool:
        try:
            behind = lags(cluster, names)
        except KafkaException as error:  # the coordinator or a leader is on its way
            if not (error.args[0].retriable() or error.args[0].code() in COORDINATOR_MOVES):
                raise
            return False
        seen.clear()
        seen.update(behind)
        return not seen

    try:
        wait_until(is_handled, deadline_seconds, poll_seconds=0.1)
    except AssertionError as error:
        raise AssertionError(f"records are left unhandled: {seen}") from error


def assert_exactly_once(
    cluster: Cluster, names: Names, expected_ids: Iterable[str]
) -> list[Record]:
    """Check that a committed read shows each of these ids once and no other; return it."""
    wait_until_handled(cluster, names)
    records = cluster.read(names.topic("ready"))
    expected = set(expected_ids)
    published = Counter(map(event_id, records))
    found = {
        "lost": sorted(expected - published.keys()),
        "published twice": sorted(one for one, count in published.items() if count > 1),
        "never asked for": sorted(published.keys() - expected),
    }
    assert not any(found.values()), {what: ids for what, ids in found.items() if ids}
    return records
