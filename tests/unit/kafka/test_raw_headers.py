"""Header names that are no UTF-8 are read and written byte for byte."""

import struct
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from consumer.kafka.client.record_format import RawHeaderName
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.types import TopicPartition

pytestmark = pytest.mark.usefixtures("batch_code")

HOSTILE = b"ab\xff\xfe"
CRC_OFFSET, ATTRIBUTES_OFFSET = 17, 21  # of a record batch, KIP-98


def built(headers: list[tuple[str, bytes | None]]) -> bytes:
    """Return one batch of three records, the middle one with these headers."""
    transaction_batches = TransactionBatches({"t": 10_000})
    target = transaction_batches.to("t", 0)
    target.append(b"1", b"first")
    target.append(b"2", b"second", headers)
    target.append(b"3", b"third")
    return b"".join(bytes(b._build()) for b in transaction_batches.finish()[TopicPartition("t", 0)])  # noqa: SLF001


def poisoned() -> bytes:
    """Return a batch whose second record has a hostile header name, as a foreign client writes."""
    batch = bytearray(built([("abcd", b"x")]).replace(b"abcd", HOSTILE))
    batch[CRC_OFFSET:ATTRIBUTES_OFFSET] = struct.pack(
        ">I", calc_crc32c(bytes(batch[ATTRIBUTES_OFFSET:]))
    )
    return bytes(batch)


def read(bytes_data: bytes, *, start: int = 0, aborted: object = None) -> list[Any]:
    """Read as a fetch of the service does."""
    records = fetcher.MemoryRecords(bytes_data)
    target, check_crcs, read_committed = TopicPartition("t", 0), True, 1
    return list(
        fetcher.PartitionRecords(
            target, records, aborted, start, None, None, check_crcs, read_committed
        )
    )


def test_the_compiled_reader_alone_would_fail_for_ever() -> None:
    """Without this failure the detour could go."""
    with pytest.raises(UnicodeDecodeError):
        list(DefaultRecordBatch(poisoned()))


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_hostile_name_is_read_as_its_bytes(start: int) -> None:
    """Every record comes once and in order, from wherever the fetch began."""
    records = read(poisoned(), start=start)
    assert [record.offset for record in records] == list(range(start, 3))
    assert [record.value for record in records] == [b"first", b"second", b"third"][start:]
    names = [name.encode() for record in records for name, _ in record.headers]
    assert names == [HOSTILE] * (start < 2)


def test_aborted_records_stay_hidden_on_the_detour() -> None:
    """The second reading knows of aborted transactions too."""
    assert read(poisoned(), aborted=[(-1, 0)]) == []


def test_a_hostile_name_is_written_as_its_bytes() -> None:
    """A record with such a name goes out in a batch of its own, in the order of the records."""
    written = built([(RawHeaderName(HOSTILE), b"x"), ("plain", None)])
    assert HOSTILE in written
    names = []
    values = []
    while written:
        length = struct.unpack_from(">qi", written)[1] + 12
        for record in read(written[:length]):
            values.append(record.value)
            names += [name.encode() for name, _ in record.headers]
        written = written[length:]
    assert values == [b"first", b"second", b"third"]
    assert names == [HOSTILE, b"plain"]
