"""The sample events: as varied as they promise, repeatable, and judged alike by the pipeline."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import Limits, Reason, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from dev.demo_plan import READY_MAX_BYTES, Plan, PlannedRecord, make_plan
from tests.builders import Record
from tests.support.documents import SDK_EXAMPLE
from tests.support.sample_jobs import make_job, other_contents
from tests.support.variants import write_variant

SEED = 1


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Plan as few records as the demo may."""
    return make_plan(SEED, 2000)


@pytest.fixture(scope="module")
def decision(plan: Plan) -> Decision:
    """Let one shard decide about all of it."""
    limits = Limits(READY_MAX_BYTES, READY_MAX_BYTES, READY_MAX_BYTES)
    records = [
        Record(offset, 0, record.key, record.value, record.headers)
        for offset, record in enumerate(plan.records)
    ]
    decided = Decision()
    batch = SourceBatch("input", 0, records, forwarded=False)
    Decider(ShardSettings(0, 1, "group", limits), SeenIds(0)).decide(batch, decided, ceiling_ms=0)
    return decided


def test_the_same_seed_plans_the_same_records(plan: Plan) -> None:
    """A run can be repeated by its seed, and another seed gives other records."""
    assert make_plan(SEED, 2000) == plan
    assert make_plan(SEED + 1, 2000).records != plan.records


def test_a_plan_has_at_least_as_many_records_as_were_asked_for(plan: Plan) -> None:
    """And not many more: the last job is not cut short."""
    assert 2000 <= len(plan.records) < 2100


def test_the_pipeline_counts_what_the_plan_expects(plan: Plan, decision: Decision) -> None:
    """The plan's own figures, made without the pipeline, are the pipeline's."""
    counts = decision.counts
    assert counts.published == plan.distinct_ids
    assert counts.conflicting == plan.conflicting
    assert sum(counts.dead_letters.values()) == plan.dead_letters
    assert counts.duplicates == plan.duplicates


def test_every_poison_record_gets_the_reason_that_the_plan_names(
    plan: Plan, decision: Decision
) -> None:
    """Record by record, not only in sum."""
    expected = {
        offset: record.reason
        for offset, record in enumerate(plan.records)
        if record.reason is not None
    }
    found = {
        letter.origin.offset: str(letter.reason)
        for letter in decision.dead_letters
        if letter.reason is not Reason.CONFLICTING_DUPLICATE
    }
    assert found == expected


def test_every_reason_that_a_record_can_have_occurs(decision: Decision) -> None:
    """Only a bug is an internal error, and no client of the demo builds its batches by hand."""
    missing = {Reason.INTERNAL_ERROR, Reason.UNREADABLE_BATCH}
    assert set(decision.counts.dead_letters) == set(Reason) - missing


def test_every_kind_of_model_name_occurs(decision: Decision) -> None:
    """Names of all providers, with and without a suffix, with and without a step."""
    models = [json.loads(ready.value)["data"]["model"] for ready in decision.ready]
    assert {model["provider"] for model in models} == {
        *("openai", "azure", "mistral", "together", "fireworks", "tinker"),
        *("trainer", "path", "unrecognised"),
    }
    openai = [model for model in models if model["provider"] == "openai"]
    assert {model["suffix"] is None for model in openai} == {True, False}
    assert {model["is_final"] for model in openai} == {True, False}
    assert {"gpt-4o", "gpt-4o-mini"} & {model["base_model"] for model in openai}


def test_every_way_to_write_a_checkpoint_occurs(plan: Plan) -> None:
    """Both spellings, CloudEvents of both modes, the SDK's own example byte for byte."""
    valid = [record for record in plan.records if record.reason is None]
    values = [record.value or b"" for record in valid]
    header_names = Counter(name for record in valid for name, _ in record.headers)
    assert any(b'"created_at":' in value for value in values)
    assert any(b'"createdAt":' in value for value in values)
    assert any(b'"data":{' in value for value in values)
    assert any(b'"data_base64":' in value for value in values)
    assert header_names["ce_specversion"]
    assert header_names["traceparent"]
    assert values.count(SDK_EXAMPLE) == 3


def test_the_repeats_of_an_id_differ_in_key_and_partition(plan: Plan) -> None:
    """One to five records an id, no two of them on one partition or under one key."""
    by_id = _by_id(plan)
    assert set(map(len, by_id.values())) == {1, 2, 3, 4, 5}
    for records in by_id.values():
        assert len({record.partition for record in records}) == len(records)
        assert len({record.key for record in records}) == len(records)


def test_a_content_that_contradicts_comes_also_again(plan: Plan) -> None:
    """The repeat of a refused variant is a duplicate, so it must be among the samples."""
    contradicting = Counter(
        (record.checkpoint_id, record.content) for record in plan.records if record.content
    )
    assert max(contradicting.values()) > 1


def test_lists_come_newest_first(plan: Plan) -> None:
    """Where two checkpoints of a job follow each other, the newer one mostly comes first."""
    downwards = upwards = 0
    for one, other in pairwise(plan.records):
        if one.checkpoint_id is None or other.checkpoint_id is None:
            continue
        first = plan.contents[one.checkpoint_id][0]
        second = plan.contents[other.checkpoint_id][0]
        if first["fine_tuning_job_id"] == second["fine_tuning_job_id"]:
            downwards += first["created_at"] > second["created_at"]
            upwards += first["created_at"] < second["created_at"]
    assert downwards > 10 * upwards


def test_every_dress_of_a_content_is_the_same_to_the_pipeline() -> None:
    """Spelling, order, white space and envelope make no difference; the content does."""
    rng = random.Random(SEED)  # noqa: S311 - sample data
    for _ in range(50):
        content = make_job(rng).checkpoints[0]
        dressed = [write_variant(content, rng) for _ in range(20)]
        digests = {decode(value, headers).digest for value, headers in dressed}
        assert len(digests) == 1
        other = write_variant(next(other_contents(content)), rng)
        assert decode(*other).digest not in digests


def _by_id(plan: Plan) -> dict[str, list[PlannedRecord]]:
    by_id: dict[str, list[PlannedRecord]] = defaultdict(list)
    for record in plan.records:
        if record.checkpoint_id is not None:
            by_id[record.checkpoint_id].append(record)
    return by_id
