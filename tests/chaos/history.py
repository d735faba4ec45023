"""A history without Kafka: the records of the script, and the outputs of a correct service.

Tests of the judge change one thing in it and check that the judge reports it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.chaos.contents import content_of
from tests.chaos.findings import Findings
from tests.chaos.judge import Judge
from tests.chaos.meaning import Meaning, read_meaning
from tests.chaos.script import Script
from tests.support.reader import Record
from tests.support.topics import Topics
from tests.support.verdicts import CONFLICT, READY_TYPE, SHARD_HEADER

if TYPE_CHECKING:
    from tests.support.reader import Header

TOPICS = Topics("group", "input", "ready", "letters", shards=2)
PARTITIONS = 3
SEED = 5
TIMESTAMP_MS = 1_750_000_000_000


class History:
    """The contents of the topics; a test changes them before it asks for the verdict."""

    def __init__(self, count: int = 600) -> None:
        self.input: list[Record] = []
        self.ready: list[Record] = []
        self.letters: list[Record] = []
        self.changelog: dict[int, list[str]] = defaultdict(list)
        self._published: dict[str, int] = {}
        self._refused: set[Meaning] = set()
        script = Script(SEED, 100)
        for number in range(count):
            new = script.next(PARTITIONS)
            partition, offset = number % PARTITIONS, number // PARTITIONS
            record = Record(
                TOPICS.input,
                partition,
                offset,
                TIMESTAMP_MS + number,
                new.key,
                new.value,
                list(new.headers),
            )
            self.input.append(record)
            self._handle(record, read_meaning(record.value, record.headers))

    def judged(self) -> Findings:
        """Return what the judge finds."""
        findings = Findings()
        judge = Judge(TOPICS, findings)
        for record in self.input:
            judge.take_input(record)
        judge.end_input()
        for record in self.ready:
            judge.take_ready(record)
        for record in self.letters:
            judge.take_dead_letter(record)
        for partition, ids in self.changelog.items():
            judge.take_changelog(ids, partition)
        judge.conclude()
        return findings

    def conflicts(self) -> list[int]:
        """Return the places in `letters` of refused contents."""
        return [i for i, letter in enumerate(self.letters) if is_conflict(letter)]

    def _handle(self, record: Record, meaning: Meaning) -> None:
        if meaning.reason:
            self._write_dead_letter(record, meaning.reason)
        elif meaning.checkpoint_id not in self._published:
            self._publish(record, meaning)
        elif (
            self._published[meaning.checkpoint_id] != meaning.variant
            and meaning not in self._refused
        ):
            self._refused.add(meaning)
            self._write_dead_letter(record, CONFLICT)

    def _publish(self, record: Record, meaning: Meaning) -> None:
        one = meaning.checkpoint_id
        self._published[one] = meaning.variant
        shard = len(self.ready) % TOPICS.shards
        content = content_of(one, meaning.variant)
        job = content["fine_tuning_job_id"]
        origin = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
        }
        event = {
            "id": one,
            "type": READY_TYPE,
            "subject": one,
            "partitionkey": job,
            "data": {"checkpoint": content, "origin": origin},
        }
        headers: list[Header] = [
            (SHARD_HEADER, f"{TOPICS.group}/{shard}/{TOPICS.shards}".encode()),
        ]
        self.ready.append(
            Record(
                TOPICS.ready,
                0,
                len(self.ready),
                record.timestamp_ms,
                job.encode(),
                json.dumps(event).encode(),
                headers,
            )
        )
        self.changelog[shard].append(one)

    def _write_dead_letter(self, record: Record, reason: str) -> None:
        trailing = {
            "__connect.errors.topic": record.topic,
            "__connect.errors.partition": record.partition,
            "__connect.errors.offset": record.offset,
            "__connect.errors.stage": "stage",
            "__connect.errors.exception.class.name": "class",
            "__connect.errors.exception.message": "message",
            "checkpoint-ready.reason": reason,
            "checkpoint-ready.timestamp": record.timestamp_ms,
        }
        headers = [
            *record.headers,
            *((name, str(text).encode()) for name, text in trailing.items()),
        ]
        letter = record._replace(topic=TOPICS.dead_letters, partition=0, offset=len(self.letters))
        self.letters.append(letter._replace(headers=headers))


def is_conflict(letter: Record) -> bool:
    """Tell whether a dead letter is one of a conflicting content."""
    return dict(letter.headers)["checkpoint-ready.reason"] == CONFLICT.encode()
