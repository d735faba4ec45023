"""The C code that builds record batches gives the bytes of the library's builder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.kafka.client import _batch_builder, private_api
from consumer.kafka.client.partition_batches import LibraryPartitionBatches, PartitionBatches
from consumer.kafka.client.record_format import (
    HEADER_BYTES,
    BatchHeader,
    RawHeaderName,
    read_record,
)
from tests.support.extensions import SOURCES, build, compilers

NOW_MS = 1_795_000_000_000
HUGE = 2**31 - 1
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
    ours = add_all(_batch_builder.PartitionBatches(batch_bytes, timestamp_ms), wanted)
    # The library never fills a batch to its last byte.
    assert ours == add_all(LibraryPartitionBatches(batch_bytes + 1, timestamp_ms), wanted)
    assert all(len(raw) <= batch_bytes or count == 1 for count, raw in ours)
    assert sum(count for count, _ in ours) == len(wanted)


@given(st.lists(st.tuples(contents, contents), max_size=12), st.integers(100, 20_000))
def test_pairs_give_the_bytes_of_single_records(
    pairs: list[tuple[bytes | None, bytes | None]], batch_bytes: int
) -> None:
    """With the C module and with the library, from a list and from an iterator."""
    expected = add_all(LibraryPartitionBatches(batch_bytes + 1, -1), [(*it, ()) for it in pairs])
    for some in (pairs, iter(pairs)):
        ours = _batch_builder.PartitionBatches(batch_bytes, -1)
        ours.append_pairs(some)
        assert add_all(ours, []) == expected
    library = LibraryPartitionBatches(batch_bytes + 1, -1)
    library.append_pairs(iter(pairs))
    assert add_all(library, []) == expected


@pytest.mark.parametrize(
    "pair", [("text", b""), (b"", 7), (b"",), (b"", b"", ()), [b"", b""], b"kv"]
)
def test_a_wrong_pair_ends_the_adding(pair: object) -> None:
    """The pairs before it were added, nothing of it, and none after it."""
    batches = _batch_builder.PartitionBatches(1000, 0)
    with pytest.raises(TypeError):
        batches.append_pairs([(b"before", None), pair, (b"after", None)])  # type: ignore[list-item]
    (builder,) = batches.finish()
    assert builder.record_count == 1
    assert b"before" in builder.build()


def test_an_error_of_the_iterator_is_raised() -> None:
    """It may also finish the batches between two pairs."""
    batches = _batch_builder.PartitionBatches(1000, 0)

    def fail() -> Iterator[tuple[bytes, bytes]]:
        yield b"k", b"v"
        raise ArithmeticError

    def finish() -> Iterator[tuple[bytes, bytes]]:
        batches.finish()
        yield b"k", b"v"

    with pytest.raises(ArithmeticError):
        batches.append_pairs(fail())
    with pytest.raises(ValueError, match="finished"):
        batches.append_pairs(finish())
    with pytest.raises(TypeError):
        batches.append_pairs(None)  # type: ignore[arg-type]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_checksums_equal_those_of_the_library(content: bytes, position: int) -> None:
    """At every length and position, for the code works on eight bytes at a time."""
    position = min(position, len(content))
    assert _batch_builder.crc32c(content, position) == private_api.crc32c(content, position)


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
    batches = _batch_builder.PartitionBatches(1000, 0)
    batches.append(b"before", None)
    with pytest.raises((TypeError, AttributeError)):
        batches.append(*arguments)
    (builder,) = batches.finish()
    assert builder.record_count == 1
    assert BatchHeader.of(builder.build()).record_count == 1


def test_what_is_finished_cannot_be_used_again() -> None:
    """An error, not a crash."""
    batches = _batch_builder.PartitionBatches(1000, 0)
    assert _batch_builder.PartitionBatches(1000, 0).finish() == []
    batches.append(b"k", b"v")
    (builder,) = batches.finish()
    for call in (batches.finish, lambda: batches.append(b"k", b"v")):
        with pytest.raises(ValueError, match="finished"):
            call()
    builder.build()
    with pytest.raises(ValueError, match="built already"):
        builder.build()
    with pytest.raises(TypeError):
        type(builder)()


def test_a_name_that_changes_the_headers_while_it_is_encoded() -> None:
    """The record has the headers as they were; no freed memory is read."""
    headers: list[tuple[str, bytes | None]] = []

    class Changing(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            headers.clear()
            return b"changing"

    headers += [(Changing("a"), b"1" * 100), ("b", b"2" * 100)]
    batches = _batch_builder.PartitionBatches(HUGE, 0)
    batches.append(None, None, headers)
    (builder,) = batches.finish()
    raw = builder.build()
    record, _ = read_record(raw, HEADER_BYTES, BatchHeader.of(raw))
    assert record.headers == [("changing", b"1" * 100), ("b", b"2" * 100)]


@pytest.mark.parametrize("batch_bytes", [-1, 2**31])
def test_a_length_that_a_batch_cannot_have(batch_bytes: int) -> None:
    """It is stored in 32 bits."""
    with pytest.raises(ValueError, match="32 bits"):
        _batch_builder.PartitionBatches(batch_bytes, 0)


def test_an_epoch_of_more_than_16_bits() -> None:
    """It would be cut to another epoch."""
    batches = _batch_builder.PartitionBatches(HUGE, 0)
    batches.append(None, b"x")
    (builder,) = batches.finish()
    with pytest.raises(ValueError, match="16 bits"):
        builder.set_producer_state(1, 2**15, 0)


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    """In the same batch as the records before and after."""
    batches = _batch_builder.PartitionBatches(HUGE, NOW_MS)
    for of_record in ([], [("plain", b"1"), (RawHeaderName(b"\xff\xfe"), b"2")], []):
        batches.append(b"k", b"v", of_record)
    (builder,) = batches.finish()
    raw = builder.build()
    header = BatchHeader.of(raw)
    _, position = read_record(raw, HEADER_BYTES, header)
    record, _ = read_record(raw, position, header)
    assert [(name.encode(), content) for name, content in record.headers] == [
        (b"plain", b"1"),
        (b"\xff\xfe", b"2"),
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
@pytest.mark.parametrize("compiler", compilers())
def test_every_extension_builds_without_a_warning(source: Path, compiler: str) -> None:
    """With all compilers of this machine."""
    build(source, compiler)
