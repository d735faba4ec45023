"""What is not handled, by the group's offsets and by the progress entries of the changelog."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.chaos.reading import read_to
from tests.support.reader import end_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.topics import Topics

REQUEST_SECONDS = 10.0
QUIET_SECONDS = 10.0
PROGRESS = b"p:"
Place = tuple[str, int]


class Progress:
    """The next offset of each source, by the latest entries of the changelog."""

    def __init__(self) -> None:
        self.next_offsets: dict[Place, int] = {}

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record of the changelog."""
        if key is None or not key.startswith(PROGRESS):
            return
        topic, _, partition = key[len(PROGRESS) :].decode().rpartition("/")
        if value is None:
            self.next_offsets.pop((topic, int(partition)), None)
        else:
            self.next_offsets[topic, int(partition)] = int(json.loads(value)["next_offset"])


class LagMeter:
    """Compares the committed offsets and the progress entries with the end offsets.

    It reads offsets as a consumer of the group that never subscribes, and so is no member.
    """

    def __init__(self, settings: Mapping[str, Any], topics: Topics) -> None:
        self._settings = settings
        self._topics = topics
        self._admin = AdminClient(dict(settings))
        self._consumer = Consumer(
            {**settings, "group.id": topics.group, "enable.auto.commit": False}
        )

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._consumer.close()

    def sentences(self, progress: Mapping[Place, int]) -> list[str]:
        """Return a sentence for each source that is not handled to its end; none: no lag.

        Raises:
            KafkaException, AssertionError, TimeoutError: a broker does not answer.
        """
        topics, found = self._topics, []
        sources = [
            (topic, partition)
            for topic in (topics.input, topics.repartition)
            for partition in end_offsets(self._admin, topic)
        ]
        claims = {"group offset": self._committed(sources), "progress": progress}
        # The ends are requested after the claims: no lag then means no lag at that time.
        ends = {
            topic: end_offsets(self._admin, topic) for topic in (topics.input, topics.repartition)
        }
        for topic, partition in sources:
            end = ends[topic].get(partition, 0)  # a broker just back may not know it yet
            for name, offsets in claims.items():
                claim = offsets.get((topic, partition), 0)
                what = f"{topic}/{partition}: the {name} is {claim}, the end is {end}"
                # The repartition topic ends in markers of transactions, which no shard handles.
                if claim > end or (claim < end and topic == topics.input):
                    found.append(what)
        return found or self._unhandled_forwards(claims, ends[topics.repartition])

    def _unhandled_forwards(
        self, claims: Mapping[str, Mapping[Place, int]], ends: Mapping[int, int]
    ) -> list[str]:
        topic, found = self._topics.repartition, []
        low = {
            (topic, partition): self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_SECONDS
            )[0]
            for partition in ends
        }
        for name, offsets in claims.items():
            claimed = {place: offsets.get(place, 0) for place in low}
            found += [
                f"{topic}/{partition}: the {name} is {claimed[topic, partition]}, but forwards up "
                f"to {start} are deleted"
                for (_, partition), start in low.items()
                if claimed[topic, partition] < start
            ]
            starts = {place: max(low[place], claimed[place]) for place in low}
            for record in read_to(self._settings, topic, ends, QUIET_SECONDS, starts):
                claim = claimed[topic, record.partition]
                found.append(f"{record.place} is not handled: the {name} is {claim}")
        return found

    def _committed(self, places: list[Place]) -> dict[Place, int]:
        asked = [TopicPartition(topic, partition) for topic, partition in places]
        found = self._consumer.committed(asked, timeout=REQUEST_SECONDS)
        return {(at.topic, at.partition): max(0, at.offset) for at in found}
