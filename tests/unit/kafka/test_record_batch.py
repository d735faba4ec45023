"""Batches are checked before they are believed, and none stops the reading."""

import gc
import tracemalloc

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, zstd_encode
from aiokafka.consumer import fetcher

from consumer.kafka.client import regular_records
from consumer.kafka.client.fetched import TAKE_BYTES
from consumer.kafka.client.record_format import MAX_HEADERS
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Reason
from tests import builders
from tests.batches.build import batch, record, repaired, varint
from tests.batches.judge import read_here

MIB = 1024 * 1024
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4


@pytest.fixture(autouse=True, params=["compiled", "library"])
def reader_of_regular_records(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reader of regular records. In CI the tests of a missing one fail."""
    if request.param == "library":
        monkeypatch.setattr(regular_records, "compiled_reader", None)
    elif regular_records.compiled_reader is None:
        pytest.skip("the C extension is not built: `make venv`")


def records(count: int) -> bytes:
    """Return sound records, numbered from 0."""
    return b"".join(record(number, b"%d" % number) for number in range(count))


def values(fetched: bytes) -> list[bytes | None]:
    """Return the values of the records that are read."""
    return [one.value for one in read_here(fetched).records]


def peak_bytes(fetched: bytes, most_records: int) -> int:
    """Return the most memory that was in use while a fetch was read a part at a time."""
    gc.collect()
    tracemalloc.start()
    try:
        read_here(fetched, most_records=most_records)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_record_has_the_offset_of_its_place() -> None:
    """Brokers do not check what an uncompressed record says of its offset."""
    liar = batch(record(5, b"liar"), 1, base_offset=1)
    honest = batch(records(3), 3, base_offset=2)
    reading = read_here(liar + honest, start=1)
    assert [one.offset for one in reading.records] == [1, 2, 3, 4]
    assert reading.next_offset == 5


@pytest.mark.parametrize("deltas", [(0, 0, 0), (2, 1, 0), (0, 7, -3), (2**31 - 1, 1, -(2**31))])
def test_offsets_of_a_batch_rise(deltas: tuple[int, int, int]) -> None:
    """Clients have written batches whose records all say 0; their order is what counts."""
    raw = batch(b"".join(record(delta) for delta in deltas), 3, base_offset=10)
    assert [one.offset for one in read_here(raw, start=10).records] == [10, 11, 12]
    assert [one.offset for one in read_here(raw, start=11).records] == [11, 12]


def test_a_compacted_batch_keeps_its_offsets() -> None:
    """Where records are missing, a record's own number is all there is; it must be possible."""
    kept = record(1, b"a") + record(4, b"b")
    sound = batch(kept, 2, last_offset_delta=6)
    assert [one.offset for one in read_here(sound).records] == [1, 4]
    assert read_here(sound).next_offset == 7
    unsound = batch(record(1, b"a") + record(9, b"b"), 2, last_offset_delta=6)
    reading = read_here(unsound)
    assert [one.offset for one in reading.records] == [1]
    (packed,) = reading.packed
    assert (packed.offset, packed.value, packed.value.reason) == (
        6,
        unsound,
        Reason.UNREADABLE_BATCH,
    )
    assert "offsets 2 to 6" in packed.value.note


@pytest.mark.parametrize("attributes", [1, 0x7F, 0x80, 0xFF])
def test_the_attributes_of_a_record_mean_nothing(attributes: int) -> None:
    """The compiled reader takes 0x80 for the first byte of a longer number."""
    odd = record(1, b"odd", key=b"key", attributes=attributes)
    raw = batch(record(0, b"before") + odd + record(2, b"after"), 3)
    assert [(one.key, one.value) for one in read_here(raw).records] == [
        (None, b"before"),
        (b"key", b"odd"),
        (None, b"after"),
    ]


def test_bits_that_a_number_does_not_hold_are_dropped() -> None:
    """Java reads 32 bits of a length's five bytes; the compiled reader reads all 35."""
    body = b"\0" + varint(0) + varint(0) + varint(-1) + b"\x82\x80\x80\x80\x70" + b"v" + varint(0)
    assert values(batch(varint(len(body)) + body, 1)) == [b"v"]


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (GZIP, gzip_encode(records(2)) + b"junk"),
        (GZIP, gzip_encode(records(2)[:5]) + gzip_encode(records(2)[5:])),
        (LZ4, lz4_encode(records(2)) + b"junk"),
        (LZ4, lz4_encode(records(2)) * 2),
        (ZSTD, zstd_encode(records(2)) + b"\x28\xb5"),
    ],
    ids=["after gzip", "gzip in parts", "after lz4", "lz4 again", "after zstd"],
)
def test_what_java_reads_of_a_stream_is_read(codec: int, payload: bytes) -> None:
    """Brokers keep such batches, for they read them as Java does."""
    assert values(batch(payload, 2, attributes=codec)) == [b"0", b"1"]


def test_a_record_before_the_last_is_not_skipped() -> None:
    """Something follows the last declared record; Java reads all records but that one."""
    raw = batch(records(3) + b"more", 3, last_offset_delta=5)
    for most_records in (1, 2, 100):
        reading = read_here(raw, most_records=most_records)
        assert [one.value for one in reading.records] == [b"0", b"1"]
        assert "offsets 2 to 5" in reading.packed[0].value.note


def test_what_can_be_read_is_read_and_the_rest_is_one_dead_letter() -> None:
    """The records before the unreadable one come first, whatever the steps."""
    broken = record(1)[:1] + b"\xff" * (len(record(1)) - 1)
    raw = batch(record(0, b"sound") + broken + record(2), 3, base_offset=7)
    after = batch(records(1), 1, base_offset=10)
    for most_records in (1, 2, 100):
        reading = read_here(raw + after, start=7, most_records=most_records)
        assert [one.value for one in reading.records] == [b"sound", b"0"]
        (packed,) = reading.packed
        assert (packed.offset, packed.key, packed.headers) == (9, None, [])
        assert "offsets 8 to 9 of a batch of 3 records cannot be read" in packed.value.note
        assert reading.next_offset == 11
    decision = builders.decide(builders.batch(packed))
    (letter,) = decision.dead_letters
    assert (letter.reason, letter.value) == (Reason.UNREADABLE_BATCH, raw)


@pytest.mark.parametrize("attributes", [0, 0x80])
def test_what_follows_the_last_record_is_not_taken_for_it(attributes: int) -> None:
    """Java refuses the last record then; one that was not declared must not come in its place."""
    raw = batch(records(3) + record(2, b"more", attributes=attributes), 3)
    for most_records in (1, 100):
        reading = read_here(raw, most_records=most_records)
        assert [one.value for one in reading.records] == [b"0", b"1"]
        assert [(one.offset, one.value) for one in reading.packed] == [(2, raw)]


def test_one_step_inflates_no_more_than_one_batch_that_takes_too_much() -> None:
    """Two kilobytes may inflate for a tenth of a second, and a fetch holds hundreds of them."""
    body = b"\0\0\0\1\1" + varint(5_000_000) + b"\0\0" * 5_000_000
    bomb = zstd_encode(varint(len(body)) + body)
    raw = b"".join(batch(bomb, 1, base_offset=n, attributes=ZSTD) for n in range(3))
    partition = fetcher.PartitionRecords(
        TopicPartition("t", 0),
        fetcher.MemoryRecords(raw),
        None,
        0,
        None,
        None,
        True,  # noqa: FBT003 - the library's own order: check the checksums
        1,
    )
    steps = [[one.offset for one in partition.take(1000, TAKE_BYTES)] for _ in range(4)]
    assert steps == [[0], [1], [2], []]


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_a_stream_that_is_cut_is_one_dead_letter(codec: int) -> None:
    """Nothing is read of it, and the next batch is."""
    encode = {GZIP: gzip_encode, LZ4: lz4_encode, ZSTD: zstd_encode}[codec]
    raw = batch(encode(records(5))[:-4], 5, attributes=codec)
    reading = read_here(raw + batch(records(1), 1, base_offset=5))
    assert [one.value for one in (*reading.packed, *reading.records)] == [raw, b"0"]


def test_an_unknown_codec_is_one_dead_letter() -> None:
    """The next release of Kafka may have one."""
    raw = batch(records(2), 2, attributes=7)
    assert [one.value for one in read_here(raw).packed] == [raw]


def test_more_records_than_offsets_are_refused() -> None:
    """No broker accepts such a batch, and where the next one begins is not known."""
    assert read_here(batch(records(3), 3, last_offset_delta=1)).is_corrupt
    assert read_here(batch(records(1), 1)[:-1] + b"x").is_corrupt  # the checksum


def test_millions_of_headers_are_one_dead_letter() -> None:
    """61 kB on the wire took 4.1 GiB; nothing of it is built now."""
    header_count = 5_000_000
    body = b"\0\0\0\1\1" + varint(header_count) + b"\0\0" * header_count
    raw = batch(zstd_encode(varint(len(body)) + body), 1, attributes=ZSTD)
    assert len(raw) < 10_000
    reading = read_here(raw)
    assert [one.value.reason for one in reading.packed] == [Reason.TOO_LARGE]
    assert f"more than {MAX_HEADERS} headers" in reading.packed[0].value.note
    assert peak_bytes(raw, 1) < 6 * len(body)


def test_headers_that_a_record_only_claims_are_not_built() -> None:
    """A number of five bytes that Java reads as 0 makes the compiled reader read on and on."""
    claim = b"\x80\x80\x80\x80\x70"
    body = b"\0\0\0\1\1" + claim
    liar = varint(len(body)) + body
    filler = record(1, b"\0" * 3 * MIB)
    raw = batch(zstd_encode(liar + filler), 2, attributes=ZSTD)
    assert [len(one.headers) for one in read_here(raw).records] == [0, 0]
    assert peak_bytes(raw, 1) < 30 * MIB


def test_millions_of_tiny_records_are_one_dead_letter() -> None:
    """Their number is known before anything is decompressed."""
    tiny = b"".join(record(number, None) for number in range(500_000))
    raw = batch(zstd_encode(tiny), 500_000, attributes=ZSTD)
    reading = read_here(raw)
    assert reading.records == []
    assert reading.packed[0].value.reason is Reason.TOO_LARGE
    assert peak_bytes(raw, 100) < MIB


def test_objects_count_when_records_are_taken() -> None:
    """Two bytes of a batch become a header that takes a hundred: one step, and no more at once."""
    headers = [(b"", b"")] * 2000
    raw = batch(b"".join(record(number, headers=headers) for number in range(200)), 200)
    assert peak_bytes(raw, 10) < 30 * MIB


def test_an_empty_batch_moves_the_position() -> None:
    """Compaction leaves batches without records."""
    raw = batch(b"", 0, last_offset_delta=4)
    assert read_here(raw + batch(records(1), 1, base_offset=5)).next_offset == 6


def test_a_marker_of_another_version_counts() -> None:
    """Java reads every version as version 0."""
    aborted = batch(records(1), 1, attributes=0x10, producer=(9, 0, 0))
    marker = batch(record(0, b"\0\0", key=b"\0\7\0\0"), 1, base_offset=1, attributes=0x30)
    later = batch(records(1), 1, base_offset=2, attributes=0x10, producer=(9, 0, 1))
    for_nine = repaired(marker[:43] + (9).to_bytes(8, "big") + marker[51:])
    reading = read_here(aborted + for_nine + later, aborted=[(9, 0)])
    assert [one.offset for one in reading.records] == [2]
    unreadable = repaired(for_nine[:61] + b"\x02\0")
    assert read_here(aborted + unreadable, aborted=[(9, 0)]).is_corrupt


def test_a_cut_batch_at_the_end_waits_for_the_next_fetch() -> None:
    """A fetch ends at a number of bytes, in the middle of a batch."""
    whole, cut = batch(records(2), 2), batch(records(2), 2, base_offset=2)[:-1]
    reading = read_here(whole + cut)
    assert (len(reading.records), reading.next_offset) == (2, 2)
