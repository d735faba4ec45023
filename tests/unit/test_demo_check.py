"""The verdict of the demo: it must see every way in which a run can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import Limits, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from dev.demo_check import Check, Verdict
from dev.demo_plan import READY_MAX_BYTES, Plan, make_plan
from tests.support.reader import Record as ReadRecord
from tests.support.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.builders import Record

TOPICS = Topics("group", "input", "ready", "dead-letters")


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Plan as few records as the demo may."""
    return make_plan(1, 2000)


@pytest.fixture(scope="module")
def outputs(plan: Plan) -> list[ReadRecord]:
    """Return what a service without faults writes."""
    limits = Limits(READY_MAX_BYTES, READY_MAX_BYTES, READY_MAX_BYTES)
    records = [
        Record(offset, 0, record.key, record.value, record.headers)
        for offset, record in enumerate(plan.records)
    ]
    decided = Decision()
    batch = SourceBatch(TOPICS.input, 0, records, forwarded=False)
    Decider(ShardSettings(0, 1, "group", limits), SeenIds(0)).decide(batch, decided, ceiling_ms=0)
    ready = [ReadRecord(TOPICS.ready, 0, 0, 0, r.key, r.value, r.headers) for r in decided.ready]
    letters = [
        ReadRecord(TOPICS.dead_letters, 0, 0, 0, r.key, r.value, r.headers)
        for r in decided.dead_letters
    ]
    return ready + letters


@pytest.fixture
def judge(plan: Plan) -> Callable[[list[ReadRecord]], Verdict]:
    """Judge outputs of the plan."""
    placed = {(0, offset): record for offset, record in enumerate(plan.records)}
    return lambda records: Check(plan, placed, TOPICS).verdict(records)


def test_a_run_without_faults_is_good(
    plan: Plan, outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """Nothing to complain of, and the figures add up."""
    verdict = judge(outputs)
    assert verdict.problems == []
    assert verdict.is_good
    assert verdict.figures == {
        "produced": len(plan.records),
        "distinct_ids": plan.distinct_ids,
        "published": plan.distinct_ids,
        "duplicates": plan.duplicates,
        "conflicting": plan.conflicting,
        "dead_letters": plan.dead_letters,
        "lost": 0,
        "published_twice": 0,
    }


def test_a_missing_ready_event_is_a_loss(
    outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """An id that nobody was told of."""
    verdict = judge(outputs[1:])
    assert verdict.figures["lost"] >= 1
    assert not verdict.is_good


def test_every_missing_dead_letter_is_a_loss(
    outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """Of whatever reason, conflicting ones included."""
    letters = [record for record in outputs if record.topic == TOPICS.dead_letters]
    for letter in letters:
        verdict = judge([record for record in outputs if record is not letter])
        assert verdict.figures["lost"] == 1
        assert not verdict.is_good


def test_a_ready_event_twice_is_counted(
    outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """The one thing that must never happen."""
    verdict = judge([*outputs, outputs[0]])
    assert verdict.figures["published_twice"] == 1
    assert not verdict.is_good


def test_a_dead_letter_twice_is_a_problem(
    outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """Exactly once holds for dead letters too."""
    assert not judge([*outputs, outputs[-1]]).is_good


def test_changed_bytes_are_a_problem(
    outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """The value, the key and the headers of a dead letter are the original's."""
    *others, letter = outputs
    changes = (
        letter._replace(value=(letter.value or b"") + b" "),
        letter._replace(key=b"another"),
        letter._replace(headers=[("added", b""), *letter.headers]),
    )
    for changed in changes:
        assert not judge([*others, changed]).is_good


def test_another_content_is_a_problem(
    outputs: list[ReadRecord], judge: Callable[[list[ReadRecord]], Verdict]
) -> None:
    """A ready event carries the content of the record that it names as its origin."""
    first, *others = outputs
    changed = (first.value or b"").replace(b'"step_number":', b'"step_number":1')
    assert not judge([first._replace(value=changed), *others]).is_good
    assert not judge([first._replace(key=b"another"), *others]).is_good
