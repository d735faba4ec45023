"""The verdict: what stands in the topics against what was planned. Nothing of the service is used.

Each record of the output topics names the source record it comes from (`origin`, or the headers of
a dead letter), and the producer's delivery reports say which planned record stands there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dev.demo_kafka import ReadRecord, Topics
    from dev.demo_plan import Plan, PlannedRecord

READY_TYPE = "fine_tuning.job.checkpoint.ready"
CONFLICT = "conflicting_duplicate"
TRAILING_HEADERS = 8
CUT_MARKS = ("checkpoint-ready.value.sha256", "checkpoint-ready.value.size")
MAX_PROBLEMS_SHOWN = 10

Place = tuple[int, int]
Headers = dict[str, bytes | None]


class Verdict(NamedTuple):
    """The figures of the last line, and every contradiction that was found."""

    figures: dict[str, int]
    problems: list[str]

    @property
    def is_good(self) -> bool:
        """Whether every record is accounted for, none lost and none published twice."""
        return not (self.problems or self.figures["lost"] or self.figures["published_twice"])


class Check:
    """Compares what was produced with what can be read of it."""

    def __init__(self, plan: Plan, placed: Mapping[Place, PlannedRecord], topics: Topics) -> None:
        self._plan = plan
        self._placed = placed
        self._topics = topics
        self._problems: list[str] = []
        self._published: dict[str, int] = {}  # id: which of its contents
        self._ready_counts: Counter[str] = Counter()
        self._letters: dict[Place, str] = {}  # source: reason
        self._refused: Counter[tuple[str, int]] = Counter()  # id, content

    def verdict(self, records: Iterable[ReadRecord]) -> Verdict:
        """Judge everything that a read_committed subscriber can read."""
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
            "conflicting": sum(reason == CONFLICT for reason in self._letters.values()),
            "dead_letters": letters,
            "lost": lost,
            "published_twice": twice,
        }
        self._compare(figures)
        return Verdict(figures, self._problems)

    def _take_ready(self, record: ReadRecord) -> None:
        event: dict[str, Any] = json.loads(record.value or b"")
        checkpoint_id, data = event["id"], event["data"]
        self._ready_counts[checkpoint_id] += 1
        source = self._source(data["origin"]["topic"], data["origin"])
        what = f"ready event {checkpoint_id}"
        if source is None or source.checkpoint_id != checkpoint_id:
            self._problems.append(f"{what}: its origin is no record of that id")
            return
        self._published[checkpoint_id] = source.content
        content = self._plan.contents[checkpoint_id][source.content]
        self._require(data["checkpoint"] == content, f"{what}: its content is not its source's")
        job_id = content["fine_tuning_job_id"]
        self._require(record.key == job_id.encode(), f"{what}: its key is not the job id")
        self._require(event["type"] == READY_TYPE, f"{what}: its type is {event['type']}")

    def _take_dead_letter(self, record: ReadRecord) -> None:
        headers: Headers = dict(record.headers)
        place = {
            name: int(headers[f"__connect.errors.{name}"] or b"")
            for name in ("partition", "offset")
        }
        topic = _text(headers, "__connect.errors.topic")
        reason = _text(headers, "checkpoint-ready.reason")
        what = f"dead letter of {place}"
        source = self._source(topic, place)
        if source is None:
            self._problems.append(f"{what}: no such record was produced")
            return
        key = (place["partition"], place["offset"])
        self._require(key not in self._letters, f"{what}: there is one already")
        self._letters[key] = reason
        expected = CONFLICT if source.checkpoint_id is not None else source.reason
        self._require(reason == expected, f"{what}: its reason is {reason}, not {expected}")
        self._require(_holds_original(record, source), f"{what}: its bytes are not the original's")
        if source.checkpoint_id is not None:
            self._refused[source.checkpoint_id, source.content] += 1

    def _source(self, topic: str, place: Mapping[str, int]) -> PlannedRecord | None:
        if topic != self._topics.input:
            return None
        return self._placed.get((place["partition"], place["offset"]))

    def _lost(self) -> int:
        """Count what should be visible and is not; name the first of it."""
        missing = [f"id {name}" for name in self._plan.contents if name not in self._ready_counts]
        for place, record in self._placed.items():
            if record.reason is not None and place not in self._letters:
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
        expected = {
            "produced": len(plan.records),
            "published": plan.distinct_ids,
            "duplicates": plan.duplicates,
            "conflicting": plan.conflicting,
            "dead_letters": plan.dead_letters,
        }
        for name, number in expected.items():
            self._require(figures[name] == number, f"{name}: {figures[name]}, expected {number}")
        if figures["published_twice"]:
            twice = [name for name, count in self._ready_counts.items() if count > 1]
            self._problems.append(f"published twice: {', '.join(twice[:MAX_PROBLEMS_SHOWN])}")

    def _require(self, condition: bool, problem: str) -> None:  # noqa: FBT001 - it is the subject
        if not condition:
            self._problems.append(problem)


def _holds_original(letter: ReadRecord, source: PlannedRecord) -> bool:
    """Tell whether a dead letter holds its source whole or, cut, its digest and first bytes."""
    headers = letter.headers[:-TRAILING_HEADERS]
    if letter.key != source.key:
        return False
    if letter.value == source.value:
        return headers == list(source.headers)
    if source.reason != "too_large" or source.value is None or not letter.value:
        return False
    digest, size = hashlib.sha256(source.value).hexdigest(), len(source.value)
    marks = [(CUT_MARKS[0], digest.encode()), (CUT_MARKS[1], str(size).encode())]
    return headers == [*source.headers, *marks] and source.value.startswith(letter.value)


def _text(headers: Headers, name: str) -> str:
    return (headers.get(name) or b"").decode()
