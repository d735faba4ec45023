"""The assertions of the kit name every violation in plain words."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from checkpoint_ready_testkit import (
    KafkaRecord,
    assert_dead_letter,
    assert_ready_event,
    assert_ready_record,
    dead_letter,
    ready_event,
    ready_record,
)

if TYPE_CHECKING:
    from checkpoint_ready_testkit import Mode

MISSING: Any = object()

# The path of a member, its wrong value, and what the message says.
VIOLATIONS: list[tuple[str, Any, str]] = [
    ("specversion", "0.3", "specversion must be '1.0', not '0.3'"),
    ("id", MISSING, "id is missing"),
    ("id", "other", "id is 'other', but data.checkpoint.id says 'ftckpt_"),
    ("subject", "other", "subject is 'other', but data.checkpoint.id says"),
    ("partitionkey", "x", "partitionkey is 'x', but data.checkpoint.fine_tuning_job_id says"),
    ("time", "2024-07-23T20:01:08Z", "but data.checkpoint.created_at says '2024-07-23T20:01:07Z'"),
    ("source", "/jobs/1", "source must be /fine_tuning/jobs/ and the id of the job"),
    ("type", "fine_tuning.job.checkpoint", "type must be 'fine_tuning.job.checkpoint.ready'"),
    ("dataschema", "ready-event/1", "dataschema must be an absolute URI, not 'ready-event/1'"),
    ("dataschema", "https:", "dataschema must be an absolute URI, not 'https:'"),
    ("replayid", "", "replayid must be a text with at least one character"),
    ("data", [], "data must be an object, not []"),
    ("data.model", None, "data.model must be an object, not None"),
    ("data.model.provider", "", "data.model.provider must be a text with at least one character"),
    ("data.checkpoint.provider", "acme", "data.model.provider is 'openai', but data.checkpoint.pr"),
    ("data.checkpoint.base_model", None, "data.checkpoint.base_model must be a text with at least"),
    ("data.checkpoint.uri", "", "data.checkpoint.uri must be a text with at least one character"),
    ("data.checkpoint.expires_at", "1", "data.checkpoint.expires_at must be seconds in the years"),
    ("data.model.is_final", 1, "data.model.is_final must be true or false, not 1"),
    ("data.model.step", "88", "data.model.step must be an integer or null, not '88'"),
    ("data.checkpoint.step_number", 2**63, "step_number must be an integer of 64 bits"),
    ("data.checkpoint.step_number", True, "step_number must be an integer of 64 bits, not True"),
    ("data.checkpoint.created_at", 10**12, "must be seconds in the years 1 to 9999"),
    ("data.checkpoint.metrics.train_loss", None, "metrics.train_loss must be a number, not None"),
    ("data.evaluation.loss", None, "data.evaluation.loss must be a number, not None"),
    ("data.evaluation.loss", MISSING, "data.evaluation must have both loss and metric, or neither"),
    ("data.origin.offset", MISSING, "data.origin.offset is missing"),
]


def with_violation(path: str, value: object) -> dict[str, Any]:
    """Return a valid event with one wrong or missing member."""
    event = copy.deepcopy(ready_event())
    *parents, name = path.split(".")
    members = event
    for parent in parents:
        members = members[parent]
    if value is MISSING:
        del members[name]
    else:
        members[name] = value
    return event


@pytest.mark.parametrize(("path", "value", "expected"), VIOLATIONS)
def test_a_violation_is_named(path: str, value: object, expected: str) -> None:
    """The message has the path of the member, the claim, and the value that was found."""
    with pytest.raises(AssertionError) as raised:
        assert_ready_event(with_violation(path, value))
    assert expected in str(raised.value)


def test_all_violations_are_reported_at_once() -> None:
    """The author of a test need not fix them one after the other."""
    event = with_violation("specversion", "0.3")
    del event["subject"]
    with pytest.raises(AssertionError) as raised:
        assert_ready_event(event)
    assert str(raised.value).splitlines() == [
        "not a ready event:",
        "- specversion must be '1.0', not '0.3'",
        "- subject is missing",
    ]


def test_a_value_that_is_no_object_is_refused() -> None:
    """Any value gives a message, never another error."""
    with pytest.raises(AssertionError, match="the event must be an object, not 'text'"):
        assert_ready_event("text")


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_records_of_any_installation_are_accepted(mode: Mode) -> None:
    """Its settings DATASCHEMA and SCHEMA_GUID change an attribute and a header."""
    address = "http://checkpoint-ready.ml.svc:8080/schemas/ready-event-data/1"
    guid = "0f0ec7b6-3e8a-4f4e-9d5c-6d2f0c1f5b7a"
    record = ready_record(ready_event(dataschema=address), mode=mode, schema_guid=guid)
    assert assert_ready_record(record)["dataschema"] == address


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value": None}, "the record has no value"),
        ({"value": b"{"}, "not a record of the ready topic"),
        ({"key": b"other"}, "the key must be the id of the job"),
        ({"headers": []}, "the header content-type is ''"),
    ],
)
def test_a_wrong_record_is_refused(changes: dict[str, Any], expected: str) -> None:
    """Key, value and content type of a record of the ready topic are checked too."""
    record = ready_record(ready_event())._replace(**changes)
    with pytest.raises(AssertionError, match=expected):
        assert_ready_record(record)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("checkpoint-ready.reason", b"bad", "reason must be one of tombstone,"),
        ("__connect.errors.stage", b"bad", "stage must be one of VALUE_CONVERTER,"),
        ("__connect.errors.offset", b"x", "offset must be an integer, not 'x'"),
        ("__connect.errors.topic", b"", "topic must not be empty"),
        (None, None, "its last headers must be __connect.errors.topic,"),
    ],
)
def test_a_wrong_dead_letter_is_refused(
    name: str | None, value: bytes | None, expected: str
) -> None:
    """Each of the headers that tools read is checked."""
    letter = dead_letter("tombstone")
    headers = [(found, value if found == name else old) for found, old in letter.headers]
    if name is None:
        headers = headers[1:]
    with pytest.raises(AssertionError, match=expected):
        assert_dead_letter(KafkaRecord(letter.key, letter.value, headers))
