"""A compressed batch that inflates beyond the limit becomes one record, and nothing is lost."""

import struct
from collections.abc import Iterator
from typing import Any

import cramjam
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from consumer.kafka.client import decompression
from consumer.kafka.client import fetched as reading
from consumer.kafka.client.decompression import inflater
from consumer.kafka.client.private_api import BoundedFetchResult
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import PackedBatch, Reason
from tests import builders

pytestmark = pytest.mark.usefixtures("batch_code")

LIMIT_BYTES = 100_000
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HOSTILE = b"ab\xff\xfe"
CRC_OFFSET, ATTRIBUTES_OFFSET = 17, 21  # of a record batch, KIP-98


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """Set a limit that a test can exceed cheaply."""
    before = inflater.limit_bytes
    inflater.limit_bytes, inflater._scratch = LIMIT_BYTES, None  # noqa: SLF001
    yield
    inflater.limit_bytes, inflater._scratch = before, None  # noqa: SLF001


def batch(  # noqa: PLR0913 - the parts of a batch
    first_offset: int,
    values: list[bytes],
    codec: int = 0,
    *,
    header: str = "name",
    transactional: bool = False,
    producer_id: int = -1,
) -> bytes:
    """Return a record batch as a broker stores it."""
    builder = DefaultRecordBatchBuilder(
        2, codec, int(transactional), producer_id, 0, 0, 100 * LIMIT_BYTES
    )
    for number, value in enumerate(values):
        builder.append(number, 1000 + number, b"key", value, [(header, b"x")])
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, first_offset)
    return bytes(built)


def read(bytes_data: bytes, *, start: int = 0, aborted: object = None) -> list[Any]:
    """Read as a fetch of the service does."""
    records = fetcher.MemoryRecords(bytes_data)
    arguments = (aborted, start, None, None, True, 1)
    return list(fetcher.PartitionRecords(TopicPartition("t", 0), records, *arguments))


BOMB = [b"a" * LIMIT_BYTES, b"second", b"third"]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_fits_is_read_as_ever(codec: int) -> None:
    """A batch just within the limit gives its records."""
    values = [b"b" * (LIMIT_BYTES - 200), b"", b"last"]
    assert [record.value for record in read(batch(5, values, codec))] == values


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("start", [3, 5, 6, 7])
def test_a_bomb_is_one_record_of_its_own_bytes(codec: int, start: int) -> None:
    """It has the batch's last offset, wherever the fetch began; the others do not change.

    So progress after it is progress after the whole batch.
    """
    bomb = batch(5, BOMB, codec)
    records = read(batch(4, [b"before"]) + bomb + batch(8, [b"after"], codec), start=start)
    values = [record.value for record in records]
    assert values == [b"before"][start - 3 :] * (start < 5) + [bomb, b"after"]
    (packed,) = (record for record in records if isinstance(record.value, PackedBatch))
    assert (packed.offset, packed.timestamp, packed.key, packed.headers) == (7, 1002, None, [])
    assert "a batch of 3 records" in packed.value.note
    assert f"more than {LIMIT_BYTES} bytes" in packed.value.note


def test_bombs_and_hostile_headers_in_one_fetch() -> None:
    """Each detour takes up where the last one ended."""
    zstd = CODECS["zstd"]
    hostile = bytearray(batch(9, [b"x", b"y"], header="abcd").replace(b"abcd", HOSTILE))
    hostile[CRC_OFFSET:ATTRIBUTES_OFFSET] = struct.pack(
        ">I", calc_crc32c(bytes(hostile[ATTRIBUTES_OFFSET:]))
    )
    bombs = [batch(first, BOMB, zstd) for first in (0, 3, 6, 11)]
    records = read(b"".join(bombs[:3]) + bytes(hostile) + bombs[3])
    assert [record.offset for record in records] == [2, 5, 8, 9, 10, 13]
    assert [type(record.value) for record in records].count(PackedBatch) == 4


def test_an_aborted_bomb_stays_hidden() -> None:
    """It is never inflated."""
    bomb = batch(0, BOMB, CODECS["gzip"], transactional=True, producer_id=9)
    assert [r.value for r in read(bomb + batch(3, [b"after"]), aborted=[(9, 0)])] == [b"after"]


def test_a_bomb_is_a_dead_letter_with_its_bytes() -> None:
    """The pipeline says what it is: too large."""
    (packed,) = read(batch(0, BOMB, CODECS["lz4"]))
    decision = builders.decide(builders.batch(packed))
    (letter,) = decision.dead_letters
    assert letter.reason is Reason.TOO_LARGE
    assert letter.value == batch(0, BOMB, CODECS["lz4"])
    assert "inflates to more than" in letter.message


@pytest.mark.parametrize("block_bytes", [1000, 32 * 1024])
def test_snappy_in_blocks_is_summed_up(block_bytes: int) -> None:
    """Java's clients write snappy in blocks; no single one need be large."""
    fits = b"c" * LIMIT_BYTES
    snappy = CODECS["snappy"]
    assert inflater.inflate(snappy, snappy_encode(fits, xerial_blocksize=block_bytes)) == fits
    with pytest.raises(decompression.TakesTooMuch):
        inflater.inflate(snappy, snappy_encode(fits + b"c", xerial_blocksize=block_bytes))


@pytest.mark.parametrize(
    ("codec", "deflate"),
    [("gzip", gzip_encode), ("snappy", snappy_encode), ("lz4", lz4_encode), ("zstd", zstd_encode)],
)
def test_the_limit_is_exact_and_comes_again(codec: str, deflate: Any) -> None:  # noqa: ANN401
    """To the byte, also after a refusal; and broken bytes are no bomb."""
    number = CODECS[codec]
    for _ in range(2):
        assert len(inflater.inflate(number, deflate(b"d" * LIMIT_BYTES))) == LIMIT_BYTES
        with pytest.raises(decompression.TakesTooMuch):
            inflater.inflate(number, deflate(b"d" * (LIMIT_BYTES + 1)))
    with pytest.raises((cramjam.DecompressionError, ValueError)):
        inflater.inflate(number, deflate(b"d" * 1000)[:-5])


def test_large_batches_of_a_topic_get_room() -> None:
    """A topic that takes batches of 11 MB may hold honest ones that inflate to ten times that."""
    inflater.allow_for(11_000_000)
    assert inflater.limit_bytes == 176_000_000
    inflater.allow_for(1_000_000)
    assert inflater.limit_bytes == 176_000_000


def test_a_fetch_hands_out_bytes_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many records that fit one by one are not all taken at once."""
    monkeypatch.setattr(reading, "TAKE_BYTES", 1000)
    monkeypatch.setattr(BoundedFetchResult, "check_assignment", lambda *_: True)
    monkeypatch.setattr(BoundedFetchResult, "_update_position", lambda _: None)
    records = fetcher.MemoryRecords(batch(0, [b"e" * 400] * 7, CODECS["zstd"]))
    arguments = (None, 0, None, None, True, 1)
    partition = TopicPartition("t", 0)
    fetched = fetcher.FetchResult(
        partition,
        assignment=None,
        partition_records=fetcher.PartitionRecords(partition, records, *arguments),
        backoff=0,
    )
    assert [len(fetched.getall(2)), len(fetched.getall(100)), len(fetched.getall())] == [2, 3, 2]
    assert not fetched.has_more()
