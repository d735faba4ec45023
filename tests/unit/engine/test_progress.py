"""Progress and its witness."""

import pytest

from consumer.engine.progress import (
    Continuity,
    Progress,
    Witness,
    judge_bounds,
    judge_witness,
)
from tests.builders import record


@pytest.mark.parametrize(
    ("log_start", "end", "expected"),
    [
        (0, 10, Continuity.INTACT),
        (10, 10, Continuity.INTACT),
        (0, 9, Continuity.RECREATED),
        (11, 20, Continuity.EXPIRED),
    ],
)
def test_bounds_tell_what_became_of_a_partition(
    log_start: int, end: int, expected: Continuity
) -> None:
    """A next offset outside of what exists means a loss or another partition."""
    assert judge_bounds(Progress(10, 0), log_start, end) is expected


def test_same_record_is_intact() -> None:
    """The witness recognises its record."""
    kept = record({"id": "a"}, offset=7)
    assert judge_witness(Witness.of(kept), kept) is Continuity.INTACT


@pytest.mark.parametrize(
    "other",
    [
        record({"id": "b"}, offset=7),
        record({"id": "a"}, offset=7, key=b"other"),
        record({"id": "a"}, offset=7, timestamp_ms=1),
        record(raw=None, offset=7),
    ],
)
def test_another_record_at_the_offset_is_noticed(other: object) -> None:
    """Other value, key, time or no value at all: another partition under the same name."""
    witness = Witness.of(record({"id": "a"}, offset=7))
    assert judge_witness(witness, other) is Continuity.RECREATED  # type: ignore[arg-type]  # a Record


def test_a_witness_that_is_gone_proves_nothing() -> None:
    """Compaction or retention may have taken it."""
    witness = Witness.of(record({"id": "a"}, offset=7))
    assert judge_witness(witness, None) is Continuity.INTACT
    assert judge_witness(witness, record({"id": "b"}, offset=8)) is Continuity.INTACT
