"""The compiled table: its memory, its refusals, its failures, and the fallback without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.pipeline import digest_table
from consumer.pipeline.digest_table import KEY_BYTES, DigestTable, PurePythonDigestTable
from tests.builders import Record
from tests.support.extensions import (
    FAILING_ALLOCATIONS,
    TABLE,
    TINY_SEGMENTS,
    build,
    compilers,
    load,
    table_with,
)
from tests.support.python_program import printed_by

if digest_table.IMPLEMENTATION != "compiled":
    pytest.skip("the C extension is not built: `make venv`", allow_module_level=True)


def key_of(number: int) -> bytes:
    """Return one of evenly distributed keys."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(KEY_BYTES, "big")


def filled(count: int, value_bytes: int = 16) -> DigestTable:
    """Return a table with the first keys."""
    table = DigestTable(value_bytes)
    table.put_all(list(map(key_of, range(count))), [bytes(value_bytes)] * count)
    return table


def test_it_is_newer_than_its_source() -> None:
    """What is tested is what is written: `make venv` builds it after each change."""
    library = sys.modules["consumer.pipeline._compiled"].__file__
    assert library is not None
    if Path(library).parent == TABLE.parent:
        assert Path(library).stat().st_mtime > TABLE.stat().st_mtime


def test_every_compiler_builds_it_without_a_warning() -> None:
    """Both gcc and clang accept it with all warnings as errors, for the product and for tests."""
    assert compilers()
    for compiler in compilers():
        for options in ((), TINY_SEGMENTS, FAILING_ALLOCATIONS):
            table = load(build(TABLE, compiler, options)).DigestTable(0)
            table.put(bytes(KEY_BYTES), b"")
            assert list(table) == [bytes(KEY_BYTES)]


@pytest.mark.parametrize("value_bytes", [0, 8, 16, 24])
def test_its_memory_is_bounded_at_every_size(value_bytes: int) -> None:
    """From ten entries on, an entry of 32 bytes takes at most 43 at any moment, besides 150 in all.

    A slot has one byte more than its entry, and after the growth of a segment 77% are used.
    """
    slot_bytes = KEY_BYTES + value_bytes + 1
    table = DigestTable(value_bytes)
    assert sys.getsizeof(table) < 128
    for count in range(1, 50_001):
        table.put(key_of(count), bytes(value_bytes))
        if 10 <= count < 3000 or count % 50 == 0:
            assert sys.getsizeof(table) <= 150 + slot_bytes / 0.77 * count
    assert sys.getsizeof(table) <= slot_bytes / 0.82 * 50_000


def test_its_memory_is_what_the_process_takes() -> None:
    """A million entries take less than 46 bytes each in a process of their own."""
    program = (
        "from pathlib import Path; from random import Random\n"
        "from consumer.pipeline._compiled import DigestTable\n"
        "resident = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "draw, table = Random(1), DigestTable(16)\n"
        "def put(count):\n"
        "    for _ in range(count):\n"
        "        table.put(draw.randbytes(16), bytes(16))\n"
        "put(1000); before = resident(); put(1_000_000)\n"
        "print((resident() - before) / 1_000_000)\n"
    )
    printed = printed_by(program)
    assert 32 < float(printed) < 46


def test_no_memory_is_lost() -> None:
    """Tables, iterators and failed calls leave nothing behind."""

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def use() -> None:
        table = filled(2000)
        keys = list(table)
        assert table.get_many(keys)
        half_way = iter(table)
        next(half_way)
        for key in keys:
            table.drop(key)
        with pytest.raises(ValueError, match="must have 16 bytes"):
            table.put_all([*keys, b"short"], [bytes(16)] * 2001)
        with pytest.raises(RuntimeError):
            next(half_way)

    for _ in range(20):
        use()
    before = resident_bytes()
    for _ in range(200):  # 16 MB of entries
        use()
    assert resident_bytes() - before < 2_000_000


def test_references_are_counted() -> None:
    """No call keeps a reference to its arguments, and an iterator keeps its table."""
    table, key, value = DigestTable(8), key_of(1), key_of(2)[:8]
    keys, values, prefix = [key], [value], b"some prefix"
    records = [Record(0, 0, prefix + key, value, []), Record(1, 0, b"other", value, [])]
    shared = (table, key, value, keys, values, DigestTable, prefix, records, *records[0])

    def references() -> list[int]:
        return [sys.getrefcount(one) for one in shared]

    before = references()
    for _ in range(50):
        table.put(key, value)
        table.put_all(keys, values)
        assert table.put_records(records, 0, prefix, b"", 8) == 1
        assert table.get(key) == value
        assert table.get_many(keys) == values
        assert list(table) == keys
        table.drop(key)
        table.reserve(5)
        DigestTable(8)
    assert references() == before
    iterator = iter(table)
    assert references() == [before[0] + 1, *before[1:]]
    assert not list(iterator)
    assert references() == before


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda table: table.get("a" * 16), TypeError),
        (lambda table: table.get(bytes(15)), ValueError),
        (lambda table: table.get(bytearray(16)), TypeError),
        (lambda table: table.get(), TypeError),
        (lambda table: table.get_many([bytes(16), bytes(17)]), ValueError),
        (lambda table: table.get_many(3), TypeError),
        (lambda table: table.put(bytes(16), bytes(9)), ValueError),
        (lambda table: table.put(bytes(16), None), TypeError),
        (lambda table: table.put(bytes(17), bytes(8)), ValueError),
        (lambda table: table.put(bytes(16)), TypeError),
        (lambda table: table.put_all([bytes(16)], []), ValueError),
        (lambda table: table.put_all([bytes(16)], [b""]), ValueError),
        (lambda table: table.put_all([bytes(16), 1], [bytes(8)] * 2), TypeError),
        (lambda table: table.put_all([], None), TypeError),
        (lambda table: table.put_all([]), TypeError),
        (lambda table: table.put_records([], 0, b"", b"", 7), ValueError),
        (lambda table: table.put_records([], 0, b"", b"a", 8), ValueError),
        (lambda table: table.put_records([], -1, b"", b"", 8), ValueError),
        (lambda table: table.put_records([], "0", b"", b"", 8), TypeError),
        (lambda table: table.put_records([], 0, "", b"", 8), TypeError),
        (lambda table: table.put_records([], 0, b"", None, 8), TypeError),
        (lambda table: table.put_records([], 0, b"", b"", None), TypeError),
        (lambda table: table.put_records([], 0, b"", b""), TypeError),
        (lambda table: table.put_records(5, 0, b"", b"", 8), TypeError),
        (lambda table: table.put_records([5], 0, b"", b"", 8), AttributeError),
        (lambda table: table.drop(b""), ValueError),
        (lambda table: table.drop(16), TypeError),
        (lambda table: table.reserve("many"), TypeError),
        (lambda table: type(table)(-1), ValueError),
        (lambda table: type(table)(65), ValueError),
        (lambda table: type(table)("8"), TypeError),
        (lambda table: type(table)(), TypeError),
        (lambda table: type(iter(table))(), TypeError),
    ],
)
def test_wrong_arguments_are_refused(call: Any, error: type[Exception]) -> None:  # noqa: ANN401 - each is wrong in its own way
    """A wrong type or size raises, and the table is as it was."""
    table = DigestTable(8)
    table.put(key_of(1), b"a" * 8)
    with pytest.raises(error):
        call(table)
    assert list(table) == [key_of(1)]


@pytest.mark.parametrize("is_removal", [False, True])
def test_a_change_ends_an_iteration(*, is_removal: bool) -> None:
    """An insertion or removal moves entries, so an iteration that began before it raises."""
    table = filled(100)
    begun = iter(table)
    next(begun)
    table.put(key_of(7), b"\1" * 16)  # a new value of a known key moves nothing
    next(begun)
    if is_removal:
        table.drop(key_of(7))
    else:
        table.put(key_of(500), bytes(16))
    with pytest.raises(RuntimeError, match="changed during the iteration"):
        next(begun)


def test_an_iterable_may_change_the_keys_meanwhile() -> None:
    """Keys are checked after the values were iterated, so none is used unchecked."""
    table, keys = DigestTable(0), [key_of(1), key_of(2)]

    def replaces() -> Any:  # noqa: ANN401 - a generator
        yield b""
        keys[0] = b"short"
        yield b""

    with pytest.raises(ValueError, match="16 bytes, not 5"):
        table.put_all(keys, replaces())
    assert not len(table)


def test_a_record_may_change_the_records_meanwhile() -> None:
    """Attributes may run any code: neither a shorter list nor a larger table does harm."""
    table = DigestTable(0)
    records: list[Any] = []

    class Unruly:
        value = b""

        def __init__(self, number: int) -> None:
            self._number = number

        @property
        def key(self) -> bytes:
            del records[40:]
            table.put_all([key_of(self._number * 100 + other) for other in range(50)], [b""] * 50)
            return key_of(self._number * 100)

    records += map(Unruly, range(100))
    assert table.put_records(records, 0, b"", b"", 0) == 40
    assert len(table) == 40 * 50


def test_a_failed_allocation_leaves_the_table_intact() -> None:
    """Whichever allocation fails, MemoryError is raised, and every entry is as before."""
    module = table_with(*FAILING_ALLOCATIONS)
    table, plain = module.DigestTable(8), dict[bytes, bytes]()
    failures = 0
    for number in range(400):
        key, value = key_of(number), number.to_bytes(8, "big")
        for allowed in range(6):
            module.fail_after(allowed)
            size_bytes = sys.getsizeof(table)
            try:
                table.put(key, value)
            except MemoryError:
                failures += 1
                assert sys.getsizeof(table) >= size_bytes
            else:
                plain[key] = value
                break
            finally:
                module.fail_after(-1)
            assert table.get(key) is None
            assert sorted(table) == sorted(plain)
        assert table.get_many(list(plain)) == list(plain.values())
    assert failures > 100
    module.fail_after(0)
    with pytest.raises(MemoryError):
        table.put_all([key_of(number) for number in range(300, 600)], [bytes(8)] * 300)
    module.fail_after(-1)
    assert set(plain) <= set(table)
    records = [Record(number, 0, key_of(number), bytes(8), []) for number in range(600, 900)]
    module.fail_after(0)
    with pytest.raises(MemoryError):
        table.put_records(records, 0, b"", b"", 8)
    module.fail_after(-1)
    assert table.put_records(records, 0, b"", b"", 8) == len(records)


def test_without_the_extension_the_pure_python_table_is_used() -> None:
    """An install without a compiler works. Its log says which table it uses."""
    program = (
        "import sys; sys.modules['consumer.pipeline._compiled'] = None\n"
        "from consumer.pipeline import digest_table, seen_ids\n"
        "seen = seen_ids.SeenIds(0)\n"
        "seen.remember(bytes(16), bytes(16), 0)\n"
        "print(digest_table.IMPLEMENTATION, seen._ids._table.__class__.__name__, len(seen))\n"
    )
    printed = printed_by(program)
    assert printed == "pure Python PurePythonDigestTable 1\n"


def test_both_tables_have_the_same_methods() -> None:
    """Code that works with one table works with the other."""
    public, compiled = (
        {name for name in dir(kind) if not name.startswith("_")} | {"__len__", "__iter__"}
        for kind in (PurePythonDigestTable, DigestTable)
    )
    assert public == compiled
