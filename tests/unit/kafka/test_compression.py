"""Compressed batches hold the records of the uncompressed ones, and are valid."""

import pytest

from consumer.kafka.client.compression import builder_for
from consumer.kafka.client.partition_batches import crc32c, new_partition_batches
from consumer.kafka.client.private_api import RecordsBuilder
from consumer.kafka.client.record_format import BatchHeader
from consumer.pipeline.records import SourceRecord
from tests.batches.judge import read_here

PRODUCER = (2**40 + 7, 11, 2**30)
BATCH_BYTES = 100_000
TRANSACTIONAL = 0x10
CODECS = {"lz4": 3, "zstd": 4}


def builder(records: int, value: bytes) -> RecordsBuilder:
    """Return a builder of a transactional batch."""
    batches = new_partition_batches(BATCH_BYTES, 1_795_000_000_000)
    for number in range(records):
        batches.append(b"key %d" % number, value, [("name", b"header %d" % number)])
    (only,) = batches.finish()
    return only


def built(records: RecordsBuilder) -> bytes:
    """Return the bytes of the batch."""
    records.set_producer_state(*PRODUCER)
    return bytes(records.build())


def fields(record: SourceRecord) -> tuple[object, ...]:
    """Return what a record holds, whichever class it has."""
    return record.offset, record.timestamp, record.key, record.value, list(record.headers)


@pytest.mark.usefixtures("batch_code")
@pytest.mark.parametrize("compression_type", list(CODECS))
def test_compressed_batches_hold_the_same_records(compression_type: str) -> None:
    """Header and records are equal, besides length, codec and checksum."""
    plain = built(builder(50, b"a value of a record"))
    compressed = built(builder_for(builder(50, b"a value of a record"), compression_type))
    assert len(compressed) < len(plain) / 2
    header, plain_header = BatchHeader.of(compressed), BatchHeader.of(plain)
    assert header.attributes == TRANSACTIONAL | CODECS[compression_type]
    assert header.crc == crc32c(compressed, 21)
    assert (header.record_count, header.producer_id) == (50, PRODUCER[0])
    assert compressed[23:57] == plain[23:57]
    assert int.from_bytes(compressed[8:12]) == len(compressed) - 12
    assert plain_header.attributes == TRANSACTIONAL
    ours, theirs = read_here(compressed).records, read_here(plain).records
    assert len(ours) == 50
    assert list(map(fields, ours)) == list(map(fields, theirs))


@pytest.mark.parametrize("compression_type", list(CODECS))
def test_records_that_do_not_shrink_stay_uncompressed(compression_type: str) -> None:
    """A single short record would grow by the frame of the codec."""
    assert built(builder_for(builder(1, b"x"), compression_type)) == built(builder(1, b"x"))


def test_none_changes_nothing() -> None:
    """The builder itself is returned."""
    plain = builder(1, b"x")
    assert builder_for(plain, "none") is plain
