"""Compares the output topics with the plan, without using any code of the service.

Each output record names topic, partition and offset of its source record (in `origin`, or in the
headers of a dead letter). The producer's delivery reports say which planned record is there. All
other input records are from the bridges `ingest` and `poll`, which key each record by its id.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from dev.demo_plan import PlannedRecord
from tests.support.verdicts import (
    CONFLICT,
    READY_TYPE,
    compare_ids,
    document,
    parse_dead_letter,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dev.demo_plan import Plan
    from tests.support.reader import Record
    from tests.support.topics import Topics

MAX_PROBLEMS_SHOWN = 10
PRODUCER = "producer"

Place = tuple[int, int]


class SourceFigures(NamedTuple):
    """What came from the producer or from one bridge."""

    records: int
    distinct_ids: int
    published_once: int


class Verdict(NamedTuple):
    """The result of a check: the figures that the demo prints last, and all problems."""

    figures: dict[str, int]
    problems: list[str]
    sources: dict[str, SourceFigures]

    @property
    def is_good(self) -> bool:
        """Whether every record has the expected output, none is lost and none published twice."""
        return not (self.problems or self.figures["lost"] or self.figures["published_twice"])


class Check:
    """Compares the planned records with the records of the output topics."""

    def __init__(
        self,
        plan: Plan,
        produced: Mapping[Place, PlannedRecord],
        topics: Topics,
        inputs: Iterable[Record] = (),
    ) -> None:
        """Prepare a check.

        Args:
            plan: what the producer sends, and the ids that bridges bring in.
            produced: the records of the producer by their places in the input topic.
            topics: the topics of the service.
            inputs: the records of the input topic; not needed without bridges.
        """
        self._plan = plan
        self._produced = len(produced)
        self._topics = topics
        self._problems: list[str] = []
        self._placed = {**produced, **self._bridged(inputs, produced)}
        self._published: dict[str, int] = {}  # id: the number of the published content
        self._ready_counts: Counter[str] = Counter()
        self._reasons: dict[Place, str] = {}  # by source of the dead letter
        self._refused: Counter[tuple[str, int]] = Counter()  # id, content

    def verdict(self, records: Iterable[Record]) -> Verdict:
        """Return the verdict about everything that a read_committed consumer can read."""
        events = letters = 0
        for record in records:
            if record.topic == self._topics.ready:
                events += 1
                self._take_ready(record)
            else:
                letters += 1
                self._take_dead_letter(record)
        lost = self._lost()
        twice = sum(count - 1 for count in self._ready_counts.values())
        figures = {
            "produced": len(self._placed),
            "distinct_ids": self._plan.distinct_ids,
            "published": events,
            "duplicates": len(self._placed) - events - letters,
            "conflicting": sum(reason == CONFLICT for reason in self._reasons.values()),
            "dead_letters": letters,
            "lost": lost,
            "published_twice": twice,
        }
        self._compare(figures)
        return Verdict(figures, self._problems, self._sources())

    def _bridged(
        self, inputs: Iterable[Record], produced: Mapping[Place, PlannedRecord]
    ) -> dict[Place, PlannedRecord]:
        """Return the records that bridges have sent. A record of no source is a problem."""
        found = {}
        for record in inputs:
            place = (record.partition, record.offset)
            if place in produced:
                continue
            name = (record.key or b"").decode(errors="replace")
            if name in self._plan.bridges:
                found[place] = PlannedRecord(
                    record.key, record.value, record.headers, record.partition, name
                )
            else:
                self._problems.append(f"{record.place}: a record of no source, its key is {name}")
        return found

    def _sources(self) -> dict[str, SourceFigures]:
        names = self._plan.bridges
        records = Counter(names.get(it.checkpoint_id or "") for it in self._placed.values())
        ids = Counter(names.get(checkpoint_id) for checkpoint_id in self._plan.contents)
        once = Counter(
            names.get(checkpoint_id)
            for checkpoint_id in self._plan.contents
            if self._ready_counts[checkpoint_id] == 1
        )
        return {
            name or PRODUCER: SourceFigures(records[name], ids[name], once[name])
            for name in (None, *dict.fromkeys(names.values()))
        }

    def _take_ready(self, record: Record) -> None:
        event = document(record)
        checkpoint_id, data = event["id"], event["data"]
        self._ready_counts[checkpoint_id] += 1
        origin = data["origin"]
        source = self._source(origin["topic"], (origin["partition"], origin["offset"]))
        what = f"ready event {checkpoint_id}"
        if source is None or source.checkpoint_id != checkpoint_id:
            self._problems.append(f"{what}: its origin is not a record of that id")
            return
        self._published[checkpoint_id] = source.content
        content = self._plan.contents[checkpoint_id][source.content]
        self._require(data["checkpoint"] == content, f"{what}: its content differs from its source")
        job_id = content["fine_tuning_job_id"]
        self._require(record.key == job_id.encode(), f"{what}: its key is not the job id")
        self._require(event["type"] == READY_TYPE, f"{what}: its type is {event['type']}")

    def _take_dead_letter(self, record: Record) -> None:
        letter = parse_dead_letter(record)
        place = (letter.partition, letter.offset)
        what = f"dead letter of {letter.topic}/{letter.partition}, offset {letter.offset}"
        source = self._source(letter.topic, place)
        if source is None:
            self._problems.append(f"{what}: no such record was produced")
            return
        self._require(place not in self._reasons, f"{what}: this is the second one")
        self._reasons[place] = letter.reason
        expected = CONFLICT if source.checkpoint_id is not None else source.reason
        self._require(
            letter.reason == expected, f"{what}: its reason is {letter.reason}, not {expected}"
        )
        self._require(
            letter.holds(source.key, source.value, source.headers),
            f"{what}: its bytes differ from the original record",
        )
        if source.checkpoint_id is not None:
            self._refused[source.checkpoint_id, source.content] += 1

    def _source(self, topic: str, place: Place) -> PlannedRecord | None:
        return self._placed.get(place) if topic == self._topics.input else None

    def _lost(self) -> int:
        """Return how many expected records are missing, and add a problem for each."""
        ids = compare_ids(self._plan.contents, self._ready_counts)
        missing = [f"id {name}" for name in ids.lost]
        for place, record in self._placed.items():
            if record.reason is not None and place not in self._reasons:
                missing.append(f"dead letter ({record.reason}) of {place}")
        for checkpoint_id, contents in self._plan.contents.items():
            published = self._published.get(checkpoint_id)
            for number in range(len(contents)):
                found = self._refused[checkpoint_id, number]
                what = f"content {number} of {checkpoint_id}"
                if number == published:
                    self._require(found == 0, f"{what}: published and refused")
                elif published is not None and found == 0:
                    missing.append(f"dead letter of {what}")
                else:
                    self._require(found <= 1, f"{what}: refused {found} times")
        self._problems += [f"lost: {what}" for what in missing]
        return len(missing)

    def _compare(self, figures: Mapping[str, int]) -> None:
        plan = self._plan
        bridged = len(self._placed) - self._produced
        expected = {
            "produced": len(plan.records) + bridged,
            "published": plan.distinct_ids,
            "duplicates": plan.duplicates + bridged - len(plan.bridges),
            "conflicting": plan.conflicting,
            "dead_letters": plan.dead_letters,
        }
        for name, number in expected.items():
            self._require(figures[name] == number, f"{name}: {figures[name]}, expected {number}")
        if figures["published_twice"]:
            twice = compare_ids(self._plan.contents, self._ready_counts).published_twice
            self._problems.append(f"published twice: {', '.join(twice[:MAX_PROBLEMS_SHOWN])}")

    def _require(self, condition: bool, problem: str) -> None:  # noqa: FBT001 - it is the subject
        if not condition:
            self._problems.append(problem)
