"""Both packed tables against a dict: whatever is put, changed and dropped, all say the same.

The compiled table is also tested with tiny segments, in which few entries cause every move.
"""

from __future__ import annotations

from typing import Protocol, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumer.pipeline.digest_table import (
    ENTRIES_PER_BUCKET,
    KEY_BYTES,
    DigestTable,
    PurePythonDigestTable,
)
from tests.support.extensions import TINY_SEGMENTS, table_with


class MakesTable(Protocol):
    """A class of tables."""

    def __call__(self, value_bytes: int) -> DigestTable:
        """Return an empty table."""


def compiled() -> MakesTable:
    """Return the class of the installed extension."""
    from consumer.pipeline import _compiled  # noqa: PLC0415 - a machine may lack it

    return cast("MakesTable", _compiled.DigestTable)


def compiled_with_tiny_segments() -> MakesTable:
    """Return the class of an extension whose segments hold few entries."""
    return cast("MakesTable", table_with(*TINY_SEGMENTS).DigestTable)


IMPLEMENTATIONS = {
    "pure_python": lambda: PurePythonDigestTable,
    "compiled": compiled,
    "tiny_segments": compiled_with_tiny_segments,
}


@pytest.fixture(params=IMPLEMENTATIONS)
def table_class(request: pytest.FixtureRequest) -> MakesTable:
    """Each implementation. In CI the test of a missing one fails."""
    return IMPLEMENTATIONS[request.param]()


# Few different bytes: keys share buckets, and lie across the border of two entries as well.
few_bytes = st.sampled_from([0, 1, 255])
keys = st.lists(few_bytes, min_size=KEY_BYTES, max_size=KEY_BYTES).map(bytes)
# Equal in all but a few bytes, at the start or at the end.
similar_keys = st.one_of(
    st.integers(0, 2000).map(lambda number: number.to_bytes(KEY_BYTES, "big")),
    st.integers(0, 2000).map(lambda number: number.to_bytes(KEY_BYTES, "little")),
    st.integers(0, 2000).map(lambda number: b"\xff" * 12 + number.to_bytes(4, "big")),
    st.just(bytes(KEY_BYTES)),
    st.just(b"\xff" * KEY_BYTES),
)
any_keys = st.one_of(keys, similar_keys, st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))


def value_of(fill: int, size: int) -> bytes:
    """Return a value in which every byte differs from its neighbours."""
    return bytes((fill + place) % 256 for place in range(size))


def spread_key(number: int) -> bytes:
    """Return one of evenly distributed keys."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(KEY_BYTES, "big")


class TableMachine(RuleBasedStateMachine):
    """Does the same to every implementation and to a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.tables: list[DigestTable] = []
        self.plain: dict[bytes, bytes] = {}

    @initialize(size=st.sampled_from([0, 1, 4, 8, 16, 17, 24, 64]))
    def create(self, size: int) -> None:
        """Create empty tables for values of one size."""
        self.size = size
        self.tables = [make()(size) for make in IMPLEMENTATIONS.values()]

    @rule(key=any_keys, fill=st.integers(0, 255))
    def put(self, key: bytes, fill: int) -> None:
        """Set a key."""
        value = value_of(fill, self.size)
        for table in self.tables:
            table.put(key, value)
        self.plain[key] = value

    @rule(many=st.lists(any_keys, max_size=200))
    def put_many(self, many: list[bytes]) -> None:
        """Set many keys, some of them twice, so that buckets are split."""
        values = [value_of(number, self.size) for number in range(len(many))]
        for table in self.tables:
            table.put_all(many, values)
        self.plain.update(zip(many, values, strict=True))

    @rule(start=st.integers(0, 10_000), count=st.integers(0, 3000))
    def put_a_range(self, start: int, count: int) -> None:
        """Set a few thousand keys."""
        many = [spread_key(number) for number in range(start, start + count)]
        values = [value_of(number % 256, self.size) for number in range(count)]
        for table in self.tables:
            table.put_all(many, values)
        self.plain.update(zip(many, values, strict=True))

    @rule(count=st.integers(0, 2000))
    def reserve(self, count: int) -> None:
        """Make room at any moment: the entries that are there are moved."""
        for table in self.tables:
            table.reserve(count)

    @rule(key=any_keys)
    def drop(self, key: bytes) -> None:
        """Remove a key, known or not."""
        for table in self.tables:
            table.drop(key)
        self.plain.pop(key, None)

    @rule(data=st.data())
    def drop_many(self, data: st.DataObject) -> None:
        """Remove many known keys, so that entries move back."""
        step = data.draw(st.integers(1, 5))
        for key in sorted(self.plain)[::step]:
            for table in self.tables:
                table.drop(key)
            del self.plain[key]

    @rule(key=any_keys)
    def get(self, key: bytes) -> None:
        """Ask for a key, known or not."""
        for table in self.tables:
            assert table.get(key) == self.plain.get(key)

    @rule(many=st.lists(any_keys, max_size=40))
    def get_many(self, many: list[bytes]) -> None:
        """Ask for keys, known or not."""
        for table in self.tables:
            assert table.get_many(many) == [self.plain.get(key) for key in many]

    @invariant()
    def all_is_found(self) -> None:
        """Every key is there with its value, and no other one."""
        known = sorted(self.plain)
        for table in self.tables:
            assert len(table) == len(known)
            assert sorted(table) == known
            assert table.get_many(known) == [self.plain[key] for key in known]


TestTables = TableMachine.TestCase
TestTables.settings = settings(deadline=None, stateful_step_count=20)


@given(count=st.integers(0, 3000))
@settings(deadline=None, max_examples=20)
def test_a_growing_table_loses_nothing(count: int) -> None:
    """After any number of keys, each one is found with its own value."""
    spread = [spread_key(number) for number in range(count)]
    for make in IMPLEMENTATIONS.values():
        table = make()(8)
        for number, key in enumerate(spread):
            table.put(key, number.to_bytes(8, "big"))
        assert [table.get(key) for key in spread] == [n.to_bytes(8, "big") for n in range(count)]


def test_a_hundred_thousand_entries_come_and_go(table_class: MakesTable) -> None:
    """A table that grew, lost most of its entries and grew again holds what a dict holds."""
    table, plain = table_class(16), dict[bytes, bytes]()
    for begin, end in ((0, 100_000), (150_000, 220_000)):
        many = [spread_key(number) for number in range(begin, end)]
        table.put_all(many, many)
        plain.update(zip(many, many, strict=True))
        for number in range(begin, end):
            if number % 7:
                table.drop(spread_key(number))
                del plain[spread_key(number)]
    known = sorted(plain)
    assert sorted(table) == known
    assert table.get_many(known) == known
    assert not [key for key in map(spread_key, range(1, 100_000, 7)) if table.get(key)]


def test_the_pure_python_table_stays_packed() -> None:
    """It has no more buckets than its entries need."""
    table = PurePythonDigestTable(0)
    table.put_all(map(spread_key, range(3000)), [b""] * 3000)
    assert len(table._buckets) <= 1 + 3000 // ENTRIES_PER_BUCKET  # noqa: SLF001 - it stays packed
