"""Regular records are read by compiled code, and equal what the reference reads field by field."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.kafka.client import record_batch, regular_records
from consumer.kafka.client.record_format import HEADER_BYTES, BatchHeader, read_record
from tests.batches.build import batch, record, repaired
from tests.batches.generate import draw
from tests.batches.judge import read_here
from tests.support.extensions import RECORD_READER, build, compilers, load
from tests.support.python_program import printed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.pipeline.records import SourceRecord

if regular_records.compiled_reader is None:
    pytest.skip("the C extension is not built: `make venv`", allow_module_level=True)

BatchReader: Any = regular_records.compiled_reader
MAX_INT64 = 2**63 - 1


def library_reader(raw: bytes, header: BatchHeader, _: int) -> regular_records.LibraryReader:
    """Return the reader of an install without a compiler."""
    return regular_records.LibraryReader(raw, header)


class NoReader:
    """Reads nothing, so every record is read field by field: the reference."""

    def __init__(self, *_: object) -> None:
        """Take a batch."""

    def read(self, position: int, *_: int) -> tuple[Sequence[SourceRecord], int, int]:
        """Return that the next record is not regular."""
        return [], position, 0


def read_with(reader: object, fetched: bytes, most_records: int) -> object:
    """Return all that is read of fetched bytes by means of a reader of regular records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_batch, "regular_reader", reader)
        reading = read_here(fetched, most_records=most_records)
    return (
        [plain(one) for one in reading.records],
        [(one.offset, one.value, one.value.note, one.value.reason) for one in reading.packed],
        reading.next_offset,
        reading.is_corrupt,
    )


def plain(one: SourceRecord) -> tuple[object, ...]:
    """Return the fields of a record of any class."""
    headers = [(name, name.encode(), content) for name, content in one.headers]
    return one.offset, one.timestamp, one.key, one.value, headers


@given(seed=st.integers(0, 2**32), most_records=st.sampled_from([1, 2, 1000]))
@settings(max_examples=2000)
def test_every_reader_reads_the_same(seed: int, most_records: int) -> None:
    """Batches with something unusual in each, as tests.batches compares them with Java."""
    fetched = draw(random.Random(seed))  # noqa: S311 - no secret
    expected = read_with(NoReader, fetched, most_records)
    assert read_with(regular_records.regular_reader, fetched, most_records) == expected
    assert read_with(library_reader, fetched, most_records) == expected


@given(
    changes=st.lists(st.tuples(st.integers(HEADER_BYTES, 400), st.integers(0, 255)), max_size=4),
    is_complete=st.booleans(),
    most_records=st.sampled_from([1, 1000]),
)
@settings(max_examples=2000)
def test_any_byte_may_be_another(
    changes: list[tuple[int, int]],
    *,
    is_complete: bool,
    most_records: int,
) -> None:
    """A changed byte in a sound batch changes the same for both."""
    headers: list[tuple[bytes, bytes | None]] = [(b"name", b"content"), ("\u2603".encode(), None)]
    parts = [
        record(
            number, b"v" * number, key=b"k" * 20, timestamp_delta=number, headers=headers[:number]
        )
        for number in range(4)
    ]
    raw = bytearray(
        batch(b"".join(parts), 4, base_offset=5, last_offset_delta=None if is_complete else 9)
    )
    for place, byte in changes:
        raw[min(place, len(raw) - 1)] = byte
    fetched = repaired(bytes(raw))
    expected = read_with(NoReader, fetched, most_records)
    assert read_with(regular_records.regular_reader, fetched, most_records) == expected


@pytest.mark.parametrize("base_offset", [0, 2**31, MAX_INT64 - 3, MAX_INT64 - 2, MAX_INT64 - 1])
@pytest.mark.parametrize("attributes", [0, 8])
def test_the_edges_of_numbers_are_the_same(base_offset: int, attributes: int) -> None:
    """The last offsets and times that 64 bits hold, and times beyond, which wrap as in Java."""
    parts = [record(0), record(1, timestamp_delta=MAX_INT64), record(2, timestamp_delta=-(2**62))]
    raw = batch(
        b"".join(parts),
        3,
        base_offset=base_offset,
        attributes=attributes,
        base_timestamp=2**62,
        max_timestamp=-1,
    )
    expected = read_with(NoReader, raw, 1000)
    assert read_with(regular_records.regular_reader, raw, 1000) == expected


def test_a_regular_batch_is_read_by_compiled_code() -> None:
    """Otherwise the tests above would compare the reference with itself."""
    raw = batch(b"".join(record(number) for number in range(3)), 3)
    records, end, headers = regular_records.regular_reader(raw, BatchHeader.of(raw), 100).read(
        HEADER_BYTES, 0, 0, 3, len(raw)
    )
    assert (len(records), end, headers) == (3, len(raw), 0)
    assert type(records[0]).__module__ == "consumer.kafka.client._record_reader"
    text = "Record(offset=0, timestamp=1700000000000, key=None, value=b'value', headers=())"
    assert repr(records[0]) == text


def test_a_limit_ends_a_read() -> None:
    """Records, bytes and headers are limited, and the next read continues there."""
    raw = batch(b"".join(record(n, headers=[(b"h", b"")] * n) for n in range(5)), 5)
    starts = [HEADER_BYTES]
    for _ in range(5):
        starts.append(read_record(raw, starts[-1], BatchHeader.of(raw))[1])
    for most_headers, most_records, limit, count in (
        (100, 2, len(raw), 2),
        (100, 100, starts[1], 1),
        (100, 100, starts[1] + 1, 2),
        (100, 100, HEADER_BYTES, 0),
        (5, 100, len(raw), 3),
        (10, 100, len(raw), 5),
        (10, 0, len(raw), 0),
    ):
        reader = regular_records.regular_reader(raw, BatchHeader.of(raw), most_headers)
        records, end, headers = reader.read(HEADER_BYTES, 0, 0, most_records, limit)
        assert (len(records), end, headers) == (count, starts[count], sum(range(count)))
    records, end, _ = reader.read(starts[3], 3, 3, 100, len(raw))
    assert ([one.offset for one in records], end) == ([3, 4], len(raw))
    assert reader.read(len(raw), 5, 5, 100, len(raw) + 1) == ([], len(raw), 0)


def test_wrong_arguments_are_refused() -> None:
    """They raise, and read nothing."""
    reader = BatchReader(b"", 0, 1, 1, 0, None, 9)
    calls: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: BatchReader("", 0, 1, 1, 0, None, 9), TypeError),
        (lambda: BatchReader(b"", 0, 2**63, 1, 0, None, 9), OverflowError),
        (lambda: BatchReader(b"", 0, 1, 1, 0, "late", 9), TypeError),
        (BatchReader, TypeError),
        (lambda: reader.read(0, 0, 0, 1), TypeError),
        (lambda: reader.read(1, 0, 0, 1, 1), ValueError),
        (lambda: reader.read(-1, 0, 0, 1, 1), ValueError),
        (lambda: reader.read("0", 0, 0, 1, 1), TypeError),
    ]
    for call, error in calls:
        with pytest.raises(error):
            call()
    assert reader.read(0, 0, 0, 1, 1) == ([], 0, 0)


def test_references_are_counted() -> None:
    """A reader keeps its buffer, a record only its own parts, and nothing is kept after them."""
    headers = [(b"name", b"content"), (b"\xff", None)]  # the second name ends the reading
    raw = batch(record(0, headers=headers[:1]) + record(1, headers=headers), 2)
    before = sys.getrefcount(raw), sys.getrefcount(BatchReader)
    for _ in range(50):
        reader = BatchReader(raw, 0, 2, 2, 0, None, 100)
        records, _, _ = reader.read(HEADER_BYTES, 0, 0, 2, len(raw))
        (one,) = records
        del records
        counts = sys.getrefcount(one), sys.getrefcount(one.headers), sys.getrefcount(one.value)
        assert counts == (2, 2, 2)
    assert sys.getrefcount(raw) == before[0] + 1
    del reader, one
    assert (sys.getrefcount(raw), sys.getrefcount(BatchReader)) == before


def test_every_compiler_builds_it_without_a_warning() -> None:
    """Both gcc and clang accept it with all warnings as errors."""
    for compiler in compilers():
        reader = load(build(RECORD_READER, compiler)).BatchReader(record(0), 7, 8, 1, 0, None, 9)
        ((read,), _, _) = reader.read(0, 0, 7, 1, 1)
        assert (read.offset, read.value) == (7, b"value")


def test_without_the_extension_the_library_reads() -> None:
    """An install without a compiler works."""
    program = (
        "import sys; sys.modules['consumer.kafka.client._record_reader'] = None\n"
        "from tests.batches.build import batch, record\n"
        "from tests.batches.judge import read_here\n"
        "(one,) = read_here(batch(record(0), 1)).records\n"
        "print(type(one).__module__, one.value)\n"
    )
    printed = printed_by(program)
    assert printed == "aiokafka.record._crecords.default_records b'value'\n"
