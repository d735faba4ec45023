"""The redriven set: entries of the journal, written and read again."""

import pytest

from consumer.errors import StateCorrupted
from consumer.jobs.redrive.redriven_set import RedrivenSet, StoredRecord, is_redriven_entry
from tests.builders import record


def stored(
    partition: int, offset: int, value: bytes = b"value", timestamp_ms: int = 1000
) -> StoredRecord:
    """Return a record of the dead-letter topic."""
    return StoredRecord(
        partition, record(raw=value, offset=offset, timestamp_ms=timestamp_ms), None
    )


def test_an_entry_is_read_again() -> None:
    """The set contains the dead letters of an entry, in their partitions and at their offsets."""
    key, value = RedrivenSet({}).new_entry([stored(0, 5), stored(2, 2**40)])
    assert is_redriven_entry(key)
    redriven = RedrivenSet({key: value})
    assert redriven.contains(stored(0, 5))
    assert redriven.contains(stored(2, 2**40))
    assert not redriven.contains(stored(1, 5))
    assert not redriven.contains(stored(0, 6))


def test_another_dead_letter_at_the_same_offset_is_not_contained() -> None:
    """A recreated topic has other records at its offsets: timestamp or content differ."""
    redriven = RedrivenSet({})
    redriven.add(*redriven.new_entry([stored(0, 5)]))
    assert not redriven.contains(stored(0, 5, timestamp_ms=1001))
    assert not redriven.contains(stored(0, 5, b"other"))
    redriven.add(*redriven.new_entry([stored(0, 5, b"other")]))
    assert redriven.contains(stored(0, 5, b"other"))


def test_the_numbers_of_entries() -> None:
    """An entry never replaces another one, also when its number has two digits."""
    entries: dict[bytes, bytes] = {}
    for offset in range(12):
        key, value = RedrivenSet(entries).new_entry([stored(0, offset)])
        assert key not in entries
        entries[key] = value
    redriven = RedrivenSet(dict(reversed(entries.items())))
    assert all(redriven.contains(stored(0, offset)) for offset in range(12))
    assert redriven.new_entry([])[0] == b"d:13"
    # Another dead letter at the offset of the ninth: the entry with the larger number is later.
    entries[b"d:10"] = redriven.new_entry([stored(0, 8, b"newer")])[1]
    assert RedrivenSet(entries).contains(stored(0, 8, b"newer"))


def test_entries_of_deleted_dead_letters() -> None:
    """An entry is obsolete when retention has deleted all of its dead letters, and not before."""
    redriven = RedrivenSet({})
    redriven.add(*redriven.new_entry([stored(0, 5), stored(0, 7), stored(1, 3)]))
    redriven.add(*redriven.new_entry([stored(0, 8)]))
    assert redriven.entries_before({0: 8, 1: 3}) == []
    assert redriven.entries_before({0: 8}) == []
    assert redriven.entries_before({0: 8, 1: 4}) == [b"d:1"]
    assert redriven.entries_before({0: 9, 1: 4}) == [b"d:1", b"d:2"]


@pytest.mark.parametrize("value", [b"", b"\x02", b"\x01half"])
def test_another_format_is_refused(value: bytes) -> None:
    """Ignoring an entry of a later release would redrive its dead letters twice."""
    with pytest.raises(StateCorrupted, match="entry 4"):
        RedrivenSet({b"d:4": value})
