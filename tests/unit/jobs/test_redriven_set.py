"""The redriven of what was put back: entries as they lie in the journal, read again."""

import pytest

from consumer.errors import StateCorrupted
from consumer.jobs.redrive.redriven_set import RedrivenSet, is_redriven
from tests.builders import Record, record


def letter(offset: int, value: bytes = b"value", timestamp_ms: int = 1000) -> Record:
    """Return a dead letter."""
    return record(raw=value, offset=offset, timestamp_ms=timestamp_ms)


def test_an_entry_is_read_again() -> None:
    """What an entry tells of is held, in its partition and at its offset only."""
    key, value = RedrivenSet({}).entry([(0, letter(5)), (2, letter(2**40))])
    assert is_redriven(key)
    redriven = RedrivenSet({key: value})
    assert redriven.holds(0, letter(5))
    assert redriven.holds(2, letter(2**40))
    assert not redriven.holds(1, letter(5))
    assert not redriven.holds(0, letter(6))


def test_another_dead_letter_at_the_same_place_is_not_held() -> None:
    """A topic made anew has other records at its offsets: time or content tell them apart."""
    redriven = RedrivenSet({})
    redriven.add(*redriven.entry([(0, letter(5))]))
    assert not redriven.holds(0, letter(5, timestamp_ms=1001))
    assert not redriven.holds(0, letter(5, b"other"))
    redriven.add(*redriven.entry([(0, letter(5, b"other"))]))
    assert redriven.holds(0, letter(5, b"other"))


def test_numbers_go_on() -> None:
    """An entry never takes the place of another one, also past the numbers of one digit."""
    entries: dict[bytes, bytes] = {}
    for offset in range(12):
        key, value = RedrivenSet(entries).entry([(0, letter(offset))])
        assert key not in entries
        entries[key] = value
    redriven = RedrivenSet(dict(reversed(entries.items())))
    assert all(redriven.holds(0, letter(offset)) for offset in range(12))
    assert redriven.entry([])[0] == b"d:13"
    # One at the place of the ninth: the entry with the greater number is the later one.
    entries[b"d:10"] = redriven.entry([(0, letter(8, b"newer"))])[1]
    assert RedrivenSet(entries).holds(0, letter(8, b"newer"))


def test_entries_go_with_their_dead_letters() -> None:
    """An entry is outlived when retention has taken all that it tells of, and no sooner."""
    redriven = RedrivenSet({})
    redriven.add(*redriven.entry([(0, letter(5)), (0, letter(7)), (1, letter(3))]))
    redriven.add(*redriven.entry([(0, letter(8))]))
    assert redriven.outlived({0: 8, 1: 3}) == []
    assert redriven.outlived({0: 8}) == []
    assert redriven.outlived({0: 8, 1: 4}) == [b"d:1"]
    assert redriven.outlived({0: 9, 1: 4}) == [b"d:1", b"d:2"]


@pytest.mark.parametrize("value", [b"", b"\x02", b"\x01half"])
def test_another_format_is_refused(value: bytes) -> None:
    """An entry of a later release is not taken for none: that would put back twice."""
    with pytest.raises(StateCorrupted, match="entry 4"):
        RedrivenSet({b"d:4": value})
