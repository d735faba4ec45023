"""The verdict of the demo: it must see every way in which a run can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import Limits, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from dev.demo_check import Check, SourceFigures, Verdict
from dev.demo_plan import READY_MAX_BYTES, Plan, make_plan
from dev.demo_provider import GROWTHS, JOBS, OLD_CHECKPOINTS, plan_steps
from dev.demo_requests import plan_requests
from tests.support.documents import checkpoint, compact
from tests.support.reader import Record as ReadRecord
from tests.support.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.builders import Record

TOPICS = Topics("group", "input", "ready", "dead-letters")
BRIDGED = {f"bridged-{number}": checkpoint(id=f"bridged-{number}") for number in range(3)}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Plan as few records as the demo may."""
    return make_plan(1, 2000)


@pytest.fixture(scope="module")
def outputs(plan: Plan) -> list[ReadRecord]:
    """Return what a service without faults writes."""
    records = [
        Record(offset, 0, record.key, record.value, record.headers)
        for offset, record in enumerate(plan.records)
    ]
    return written(0, records)


def written(partition: int, records: list[Record]) -> list[ReadRecord]:
    """Return what a new service writes for the records of one input partition."""
    limits = Limits(READY_MAX_BYTES, READY_MAX_BYTES, READY_MAX_BYTES)
    decided = Decision()
    batch = SourceBatch(TOPICS.input, partition, records, forwarded=False)
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


@pytest.fixture
def inputs() -> list[ReadRecord]:
    """Return the records of a bridge in a partition of its own; it has sent each id twice."""
    contents = [*BRIDGED.values()] * 2
    return [
        ReadRecord(TOPICS.input, 1, offset, 0, content["id"].encode(), compact(content), [])
        for offset, content in enumerate(contents)
    ]


@pytest.fixture
def bridged_outputs(outputs: list[ReadRecord], inputs: list[ReadRecord]) -> list[ReadRecord]:
    """Return what a service without faults writes for the producer and the bridge."""
    records = [Record(one.offset, 0, one.key, one.value, one.headers) for one in inputs]
    return [*written(1, records), *outputs]


def judge_bridged(
    plan: Plan, inputs: list[ReadRecord], records: list[ReadRecord], *, name: str = "webhook"
) -> Verdict:
    """Judge outputs of a plan whose bridge brings in `BRIDGED`."""
    placed = {(0, offset): record for offset, record in enumerate(plan.records)}
    return Check(plan.with_bridge(name, BRIDGED), placed, TOPICS, inputs).verdict(records)


def test_the_records_of_a_bridge_are_accounted_for(
    plan: Plan, inputs: list[ReadRecord], bridged_outputs: list[ReadRecord]
) -> None:
    """Each is a ready event or a duplicate, and the figures of each source are its own."""
    verdict = judge_bridged(plan, inputs, bridged_outputs)
    assert verdict.problems == []
    assert verdict.figures["produced"] == len(plan.records) + len(inputs)
    assert verdict.figures["distinct_ids"] == plan.distinct_ids + len(BRIDGED)
    assert verdict.figures["duplicates"] == plan.duplicates + len(inputs) - len(BRIDGED)
    assert verdict.sources == {
        "producer": SourceFigures(len(plan.records), plan.distinct_ids, plan.distinct_ids),
        "webhook": SourceFigures(len(inputs), len(BRIDGED), len(BRIDGED)),
    }


def test_an_acknowledged_id_that_is_not_published_is_a_loss(
    plan: Plan, inputs: list[ReadRecord], bridged_outputs: list[ReadRecord]
) -> None:
    """Whether the service has lost it or the bridge."""
    by_service = judge_bridged(plan, inputs, bridged_outputs[1:])
    assert by_service.figures["lost"] == 1
    without = [one for one in inputs if one.key != inputs[0].key]
    by_bridge = judge_bridged(plan, without, bridged_outputs[1:])
    assert by_bridge.figures["lost"] == 1
    for verdict in (by_service, by_bridge):
        assert not verdict.is_good
        assert verdict.sources["webhook"].published_once == len(BRIDGED) - 1


def test_a_bridged_id_published_twice_is_counted(
    plan: Plan, inputs: list[ReadRecord], bridged_outputs: list[ReadRecord]
) -> None:
    """And it is not among the ids that were published once."""
    verdict = judge_bridged(plan, inputs, [*bridged_outputs, bridged_outputs[0]])
    assert verdict.figures["published_twice"] == 1
    assert verdict.sources["webhook"].published_once == len(BRIDGED) - 1


def test_a_record_of_no_source_is_a_problem(
    plan: Plan, inputs: list[ReadRecord], bridged_outputs: list[ReadRecord]
) -> None:
    """Such as a checkpoint of a request that was refused."""
    refused = inputs[0]._replace(offset=99, key=b"refused")
    verdict = judge_bridged(plan, [*inputs, refused], bridged_outputs)
    assert verdict.problems == ["input/1 at offset 99: a record of no source, its key is refused"]


def test_the_requests_of_the_demo() -> None:
    """A seed plans the same requests, some twice. Refused ones share no id with the others."""
    requests = plan_requests(1)
    assert requests == plan_requests(1) != plan_requests(2)
    assert len(requests) > len({request.body for request in requests})
    statuses = {request.status for request in requests}
    assert statuses == {202, 401, 422}
    accepted = [request for request in requests if request.status == 202]
    assert {len(request.contents) > 1 for request in accepted} == {True, False}
    ids = {one for request in accepted for one in request.contents}
    for request in requests:
        if request.status != 202:
            assert not request.contents
            assert not any(one.encode() in request.body for one in ids)


def test_the_jobs_of_the_demo() -> None:
    """Each job ends, with its last checkpoint; the changes are in order."""
    steps = plan_steps(1)
    assert steps == plan_steps(1) != plan_steps(2)
    assert [step.at_share for step in steps] == sorted(step.at_share for step in steps)
    assert len(steps) == len(JOBS) * (GROWTHS + 1) + 1
    assert steps[0].new_checkpoints == OLD_CHECKPOINTS
    last = {step.job: step.status for step in steps}
    assert "running" not in last.values()
