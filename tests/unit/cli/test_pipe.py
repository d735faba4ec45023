"""The contract without Kafka: lines in, decisions out."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from consumer.cli.pipe import pipe
from tests.builders import SDK_EXAMPLE, checkpoint, envelope, shard_settings


def run(
    *lines: bytes, records: bool = False, window_ms: int = 0
) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and the decisions."""
    written: list[bytes] = []
    settings = shard_settings(shard=5, shards=6)
    code = pipe(
        [line + b"\n" for line in lines],
        written.append,
        settings=settings,
        window_ms=window_ms,
        records=records,
    )
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in written)
    return code, [json.loads(line) for line in written]


def whole(value: object, **parts: object) -> bytes:
    """Return a line with a complete record."""
    return json.dumps({"value": value, **parts}).encode()


def decisions(answers: Sequence[dict[str, Any]]) -> list[str]:
    """Return only the decisions."""
    return [answer["decision"] for answer in answers]


def test_bare_values() -> None:
    """Each line is one value and gets one decision, also invalid and empty lines."""
    code, answers = run(SDK_EXAMPLE, SDK_EXAMPLE, b"rubbish", b"")
    assert code == 0
    assert decisions(answers) == ["ready", "duplicate", "dead_letter", "dead_letter"]
    assert answers[0]["event"]["id"] == "<id>"
    assert answers[1] == {"decision": "duplicate", "event": None, "reason": None, "message": None}
    assert answers[2]["reason"] == "malformed_json"


def test_whole_records() -> None:
    """A line gives key, headers, offset and timestamp of its record."""
    code, answers = run(
        whole(checkpoint(), key="k", topic="t", partition=2, offset=3, timestamp_ms=4),
        whole(json.dumps(checkpoint())),
        whole(
            envelope(checkpoint(id="b")), headers={"content-type": "application/cloudevents+json"}
        ),
        whole(checkpoint(id="c"), headers=[["ce_specversion", "0.3"], ["none", None]]),
        whole(None),
        records=True,
    )
    assert code == 0
    expected = ["ready", "duplicate", "ready", "dead_letter", "dead_letter"]
    assert decisions(answers) == expected
    origin = {"topic": "t", "partition": 2, "offset": 3, "timestamp_ms": 4}
    assert answers[0]["event"]["data"]["origin"] == origin


def test_lines_that_are_no_records(capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid line gives an error and exit code 1; the other lines are still decided."""
    code, answers = run(b"rubbish", b'{"key":"k"}', whole(checkpoint()), records=True)
    assert code == 1
    assert decisions(answers) == ["ready"]
    errors = capsys.readouterr().err.splitlines()
    assert [error.partition(" is ")[0] for error in errors] == ["line 1", "line 2"]


def test_the_window_goes_by_the_records_own_time() -> None:
    """A duplicate after the dedup window is ready again."""
    lines = [whole(checkpoint(), timestamp_ms=second * 1000) for second in (0, 9, 10, 11)]
    _, answers = run(*lines, records=True, window_ms=10_000)
    assert decisions(answers) == ["ready", "duplicate", "ready", "duplicate"]
