"""The packed table against a dict: whatever is put, changed and dropped, both say the same."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consumer.pipeline.digest_table import ENTRIES_PER_BUCKET, KEY_BYTES, DigestTable

# Few different bytes: keys share buckets, and lie across the border of two entries as well.
keys = st.lists(st.sampled_from([0, 1, 255]), min_size=KEY_BYTES, max_size=KEY_BYTES).map(bytes)


class TableMachine(RuleBasedStateMachine):
    """Does the same to a table and to a dict."""

    value_bytes = 16

    def __init__(self) -> None:
        super().__init__()
        self.table = DigestTable(self.value_bytes)
        self.plain: dict[bytes, bytes] = {}

    @rule(key=keys, fill=st.integers(0, 255))
    def put(self, key: bytes, fill: int) -> None:
        """Set a key."""
        value = bytes([fill]) * self.value_bytes
        self.table.put(key, value)
        self.plain[key] = value

    @rule(many=st.lists(keys, max_size=200))
    def put_many(self, many: list[bytes]) -> None:
        """Set many keys, so that buckets are split."""
        for key in many:
            self.table.put(key, key[: self.value_bytes])
            self.plain[key] = key[: self.value_bytes]

    @rule(count=st.integers(0, 2000))
    def reserve(self, count: int) -> None:
        """Make room at any moment: the entries that are there are moved."""
        self.table.reserve(count)

    @rule(key=keys)
    def drop(self, key: bytes) -> None:
        """Remove a key, known or not."""
        self.table.drop(key)
        self.plain.pop(key, None)

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        """Ask for a key, known or not."""
        assert self.table.get(key) == self.plain.get(key)

    @invariant()
    def all_is_found(self) -> None:
        """Every key is there with its value, and no other one."""
        assert len(self.table) == len(self.plain)
        assert sorted(self.table) == sorted(self.plain)
        assert all(self.table.get(key) == value for key, value in self.plain.items())


class KeysOnlyMachine(TableMachine):
    """The same for a set of keys: their values are empty."""

    value_bytes = 0


TestTable = TableMachine.TestCase
TestKeysOnly = KeysOnlyMachine.TestCase
TestTable.settings = TestKeysOnly.settings = settings(deadline=None, stateful_step_count=20)


@given(st.integers(0, 3000))
@settings(deadline=None, max_examples=20)
def test_a_growing_table_loses_nothing(count: int) -> None:
    """After any number of keys, each one is found with its own value."""
    table = DigestTable(8)
    spread = [(n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16) for n in range(count)]
    for number, key in enumerate(spread):
        table.put(key, number.to_bytes(8))
    assert [table.get(key) for key in spread] == [n.to_bytes(8) for n in range(count)]
    assert len(table._buckets) <= 1 + count // ENTRIES_PER_BUCKET  # noqa: SLF001 - it stays packed
