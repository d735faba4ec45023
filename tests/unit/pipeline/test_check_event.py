"""The check event: a CloudEvent of its own type, which is not taken for a ready event."""

from __future__ import annotations

import json

import pytest

from consumer.cli.tail import structured
from consumer.pipeline.check_event import CheckRecord, check_record
from consumer.pipeline.records import SourceRecord
from schemas.ready_event import CHECK_TYPE, READY_TYPE
from tests.builders import record

CHECK = "check-1"


def made(*, committed: bool = False, binary_mode: bool = False) -> CheckRecord:
    """Return the check event of partition 2."""
    return check_record(CHECK, 2, 1_721_764_867, committed=committed, binary_mode=binary_mode)


def test_structured_mode() -> None:
    """The whole event is the value, with all required attributes."""
    event = json.loads(made().value)
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": "check-1-2",
        "source": "/subscribers/check",
        "type": "fine_tuning.job.checkpoint.ready.check",
        "subject": CHECK,
        "time": "2024-07-23T20:01:07Z",
        "datacontenttype": "application/json",
        "partitionkey": CHECK,
    }
    assert data["message"].startswith("This is not a checkpoint.")
    assert (data["check"], data["partition"], data["committed"]) == (CHECK, 2, False)
    assert made().headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    assert made().key == CHECK.encode()


def test_binary_mode() -> None:
    """The attributes are headers and the value is `data` alone."""
    binary = made(binary_mode=True)
    headers = dict(binary.headers)
    assert headers["ce_type"] == CHECK_TYPE.encode() != READY_TYPE.encode()
    assert headers["ce_id"] == b"check-1-2"
    assert headers["content-type"] == b"application/json"
    assert json.loads(binary.value)["check"] == CHECK


def test_a_committed_event_says_another_thing() -> None:
    """It proves nothing about the isolation level."""
    assert "aborted" in json.loads(made().value)["data"]["message"]
    assert "aborted" not in json.loads(made(committed=True).value)["data"]["message"]


@pytest.mark.parametrize("binary_mode", [False, True])
def test_tail_ignores_it(*, binary_mode: bool) -> None:
    """A filter by type leaves it out in both modes."""
    check = made(committed=True, binary_mode=binary_mode)
    source: SourceRecord = record(raw=check.value, key=check.key, headers=check.headers)
    assert structured(source) is None
