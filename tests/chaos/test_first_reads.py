"""A later read is compared with the reads during the run."""

from __future__ import annotations

import pytest

from tests.chaos.findings import MAX_KEPT_OF_A_KIND, Findings
from tests.chaos.first_reads import FirstReads
from tests.support.reader import Record

RECORDS = [Record("ready", 0, o, 1, b"key", b"%d" % o, [("h", None)]) for o in (0, 1, 3, 7)]


@pytest.fixture
def findings() -> Findings:
    """Collect what is found."""
    return Findings()


@pytest.fixture
def reads(findings: Findings) -> FirstReads:
    """Read up to offset 7, with gaps where markers stand."""
    reads = FirstReads(findings)
    for record in RECORDS:
        reads.note(record)
    return reads


def test_the_same_again(reads: FirstReads, findings: Findings) -> None:
    """What was read stands there again, and more behind it: nothing is wrong."""
    for record in [*RECORDS, RECORDS[0]._replace(offset=8), RECORDS[0]._replace(partition=1)]:
        reads.compare(record)
    reads.require_all_found(("ready",))
    assert findings.sentences() == []


@pytest.mark.parametrize(
    "change",
    [
        {"value": b"x"},
        {"key": None},
        {"headers": []},
        {"headers": [("h", b"")]},
        {"timestamp_ms": 2},
    ],
)
def test_a_changed_record(reads: FirstReads, findings: Findings, change: dict[str, object]) -> None:
    """Another record at an offset that was read is told with its place."""
    reads.compare(RECORDS[2]._replace(**change))  # type: ignore[arg-type]  # any field
    assert "ready/0 at offset 3 is another record" in findings.sentences()[0]


def test_a_record_that_came_late(reads: FirstReads, findings: Findings) -> None:
    """A record where a reader has already passed and saw none is told."""
    reads.compare(RECORDS[0]._replace(offset=5))
    assert "ready/0 at offset 5 is there now" in findings.sentences()[0]


def test_a_record_that_is_gone(reads: FirstReads, findings: Findings) -> None:
    """A record that was read and is not found again is told, but for a compacted topic."""
    for record in RECORDS[1:]:
        reads.compare(record)
    reads.require_all_found(("another",))
    assert findings.sentences() == []
    reads.require_all_found(("ready",))
    assert "ready/0 at offset 0 was read once, is gone now" in findings.sentences()[0]


def test_offsets_that_go_backwards(reads: FirstReads, findings: Findings) -> None:
    """A reader that is given an offset again, or an earlier one, tells it."""
    reads.note(RECORDS[1])
    assert "ready/0 at offset 1 came after offset 7" in findings.sentences()[0]


def test_many_violations_are_counted(findings: Findings) -> None:
    """Of each kind the first are kept, the others counted."""
    for number in range(100):
        findings.add("many", str(number))
    findings.add("one", "alone")
    *kept, rest = findings.sentences()
    assert len(kept) == MAX_KEPT_OF_A_KIND + 1
    assert "one: alone" in kept
    assert "and 95 more violations; in all: many 100, one 1" in rest
