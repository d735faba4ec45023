"""The C code for record batches equals the library's builder and the reader in Python."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.kafka.client import _compiled, private_api
from consumer.kafka.client.compiled import LibraryPartitionBatches, PartitionBatches
from consumer.kafka.client.record_format import (
    HEADER_BYTES,
    BatchHeader,
    RawHeaderName,
    UnreadableRecord,
    read_record,
)

NOW_MS = 1_795_000_000_000
HUGE = 2**31 - 1
LOG_APPEND_TIME = 0x08
PRODUCER = (2**40 + 7, 11, 2**30)
contents = (
    st.none()
    | st.binary(max_size=200)
    | st.sampled_from([b"x" * size for size in (63, 64, 8191, 8192)])
)
names = st.text(max_size=70)
headers = st.lists(st.tuples(names, contents), max_size=4)
records = st.lists(st.tuples(contents, contents, headers), min_size=1, max_size=12)
Built = list[tuple[int, bytes]]


def add_all(batches: PartitionBatches, wanted: Sequence[tuple[Any, Any, Any]]) -> Built:
    """Return the number of records and the bytes of each batch."""
    for key, value, of_record in wanted:
        batches.append(key, value, of_record)
    finished = batches.finish()
    for builder in finished:
        builder.set_producer_state(*PRODUCER)
    return [(builder.record_count, bytes(builder.build())) for builder in finished]


@given(records, st.integers(100, 20_000), st.sampled_from([-1, 0, NOW_MS]))
@settings(max_examples=300)
def test_batches_equal_those_of_the_library(
    wanted: list[tuple[Any, Any, Any]], batch_bytes: int, timestamp_ms: int
) -> None:
    """Every byte: the lengths, the checksum, and where a full batch ends."""
    ours = add_all(_compiled.PartitionBatches(batch_bytes, timestamp_ms), wanted)
    # The library never fills a batch to its last byte.
    assert ours == add_all(LibraryPartitionBatches(batch_bytes + 1, timestamp_ms), wanted)
    assert all(len(raw) <= batch_bytes or count == 1 for count, raw in ours)
    assert sum(count for count, _ in ours) == len(wanted)


def read_all(raw: bytes, header: BatchHeader, first_delta: int = -1) -> tuple[list[Any], int, int]:
    """Return what the C code reads."""
    return _compiled.read_records(
        raw,
        HEADER_BYTES,
        HUGE,
        HUGE,
        header.base_offset,
        first_delta,
        header.base_timestamp,
        header.append_time,
    )


def in_python(raw: bytes, header: BatchHeader, count: int) -> tuple[list[Any], int]:
    """Return as many records as the reader in Python reads, at most this number."""
    read: list[Any] = []
    position = HEADER_BYTES
    while len(read) < count:
        record, position = read_record(raw, position, header)
        read.append(record)
    return read, position


def fields(read: Sequence[Any]) -> list[tuple[object, ...]]:
    """Return what the pipeline sees of each record."""
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in read]


@given(records, st.sampled_from([None, 5]))
@settings(max_examples=200)
def test_every_usual_record_is_read(
    wanted: list[tuple[Any, Any, Any]], append_time: int | None
) -> None:
    """As the reader in Python reads it, at once, with the number of headers."""
    ((_, raw),) = add_all(_compiled.PartitionBatches(HUGE, NOW_MS), wanted)
    header = BatchHeader.of(raw)._replace(base_offset=2**40)
    if append_time is not None:
        header = header._replace(attributes=LOG_APPEND_TIME, max_timestamp=append_time)
    read, end, header_count = read_all(raw, header, 0)
    expected, expected_end = in_python(raw, header, len(wanted))
    assert (fields(read), end) == (fields(expected), expected_end)
    assert header_count == sum(len(of_record) for _, _, of_record in wanted)
    assert [(r.key, r.value, list(r.headers)) for r in read] == wanted


@given(records, st.data())
@settings(max_examples=1000, deadline=None)
def test_damaged_bytes_are_never_read_in_another_way(
    wanted: list[tuple[Any, Any, Any]], data: st.DataObject
) -> None:
    """Whatever the C code returns is what the reader in Python returns; it may stop earlier."""
    ((_, raw),) = add_all(_compiled.PartitionBatches(HUGE, NOW_MS), wanted)
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(HEADER_BYTES, len(raw) - 1))
        damaged[at] = data.draw(st.integers(0, 255) | st.sampled_from([0x80, 0xFF, 1, 0x7F]))
    cut = bytes(damaged[: data.draw(st.integers(HEADER_BYTES, len(raw)))])
    header = BatchHeader.of(raw)
    read, end, _ = read_all(cut, header)
    expected, expected_end = in_python(cut, header, len(read))
    assert (fields(read), end) == (fields(expected), expected_end)


def test_it_stops_where_python_must_read() -> None:
    """A name that is not UTF-8, another offset than expected, a number in too many bytes."""
    batches = _compiled.PartitionBatches(HUGE, NOW_MS)
    batches.append(b"plain", None)
    batches.append(None, b"raw", [(RawHeaderName(b"\xff\xfe"), b"x")])
    (builder,) = batches.finish()
    raw = builder.build()
    header = BatchHeader.of(raw)
    read, end, _ = read_all(raw, header, 0)
    assert [record.key for record in read] == [b"plain"]
    raw_name, _ = read_record(raw, end, header)
    assert raw_name.headers[0][0].encode() == b"\xff\xfe"
    assert read_all(raw, header, 1) == ([], HEADER_BYTES, 0)


def test_the_limits_of_a_step() -> None:
    """Records up to the count are read, and none that begins at the limit or later."""
    ((_, raw),) = add_all(_compiled.PartitionBatches(HUGE, NOW_MS), [(b"k", b"v", [])] * 5)
    size = (len(raw) - HEADER_BYTES) // 5
    for most, limit, count in (
        (3, HUGE, 3),
        (0, HUGE, 0),
        (9, HEADER_BYTES + 2 * size, 2),
        (9, 0, 0),
    ):
        read, end, _ = _compiled.read_records(raw, HEADER_BYTES, most, limit, 0, 0, 0, None)
        assert (len(read), end) == (count, HEADER_BYTES + count * size)
    read, _, _ = _compiled.read_records(raw, HEADER_BYTES + 4 * size, 9, HUGE, 0, 4, 0, None)
    assert [record.offset for record in read] == [4]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_checksums_equal_those_of_the_library(content: bytes, position: int) -> None:
    """At every length and position, for the code works on eight bytes at a time."""
    position = min(position, len(content))
    assert _compiled.crc32c(content, position) == private_api.crc32c(content, position)


@pytest.mark.parametrize(
    "arguments",
    [
        ("text", b""),
        (b"", 7),
        (b"", b"", {}),
        (b"", b"", ["name"]),
        (b"", b"", [("name",)]),
        (b"", b"", [(b"name", b"")]),
        (b"", b"", [("name", "text")]),
        (b"",),
    ],
)
def test_wrong_types_add_nothing(arguments: tuple[Any, ...]) -> None:
    """They would corrupt memory if they were taken."""
    batches = _compiled.PartitionBatches(1000, 0)
    batches.append(b"before", None)
    with pytest.raises((TypeError, AttributeError)):
        batches.append(*arguments)
    (builder,) = batches.finish()
    assert builder.record_count == 1
    assert BatchHeader.of(builder.build()).record_count == 1


def test_what_is_finished_cannot_be_used_again() -> None:
    """An error, not a crash."""
    batches = _compiled.PartitionBatches(1000, 0)
    assert _compiled.PartitionBatches(1000, 0).finish() == []
    batches.append(b"k", b"v")
    (builder,) = batches.finish()
    for call in (batches.finish, lambda: batches.append(b"k", b"v")):
        with pytest.raises(ValueError, match="finished"):
            call()
    builder.build()
    with pytest.raises(ValueError, match="built already"):
        builder.build()
    with pytest.raises(ValueError, match="outside"):
        _compiled.read_records(b"", 1, 1, 1, 0, 0, 0, None)
    with pytest.raises(TypeError):
        type(builder)()


def test_compressed_records() -> None:
    """The compressed form is used where it is smaller; the codec is then in the attributes."""
    for size, is_smaller in ((1000, True), (1, False)):
        batches = _compiled.PartitionBatches(
            HUGE, 0, 1, lambda plain: b"c" * (len(plain) // 2 + 30)
        )
        batches.append(None, b"x" * size)
        (builder,) = batches.finish()
        raw = builder.build()
        assert BatchHeader.of(raw).codec == int(is_smaller)
        assert raw.endswith(b"ccc") is is_smaller
        assert struct.unpack_from(">i", raw, 8)[0] == len(raw) - 12
        assert BatchHeader.of(raw).crc == private_api.crc32c(raw, 21)
    with pytest.raises(ValueError, match="needs a function"):
        _compiled.PartitionBatches(HUGE, 0, 1)


def test_an_error_of_the_compressor_is_raised() -> None:
    """The batch is not sent half built."""

    def fail(_: bytes) -> bytes:
        raise ArithmeticError

    batches = _compiled.PartitionBatches(HUGE, 0, 1, fail)
    batches.append(None, b"x")
    (builder,) = batches.finish()
    with pytest.raises(ArithmeticError):
        builder.build()


def test_unreadable_records_are_left_to_python() -> None:
    """A record that is longer than the batch is not read."""
    ((_, raw),) = add_all(_compiled.PartitionBatches(HUGE, 0), [(b"k", b"v" * 100, [])])
    cut = raw[:-1]
    assert read_all(cut, BatchHeader.of(raw)) == ([], HEADER_BYTES, 0)
    with pytest.raises(UnreadableRecord):
        read_record(cut, HEADER_BYTES, BatchHeader.of(raw))
