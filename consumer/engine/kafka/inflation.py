"""Compressed batches may not inflate without end: the library inflates each one as a whole.

A broker bounds a batch as it is stored, and one of a megabyte can hold gigabytes. What inflates to
more than the limit is not read record by record: it becomes one record, the batch itself as it
lies in the log, which the pipeline puts among the dead letters. So nothing of it is lost, no
partition is stuck behind it, and it takes no more memory than any other record.
"""

import gzip
import io
import mmap
import struct
from typing import Any, Final, NamedTuple

import cramjam
from aiokafka import codec
from aiokafka.record import default_records, legacy_records
from aiokafka.record._crecords import default_records as compiled_records
from aiokafka.record._crecords import legacy_records as compiled_legacy_records

from consumer.pipeline.records import Header, PackedBatch

LEAST_LIMIT_BYTES: Final = 64 * 1024 * 1024
# JSON shrinks to a tenth or so; a batch as large as its topic takes must still be read.
LIMIT_RATIO: Final = 16
# A scratch that held more than this is given back instead of kept for the next batch.
KEPT_SCRATCH_BYTES: Final = 4 * 1024 * 1024
OVERFLOW_MESSAGE: Final = "failed to write whole buffer"  # of cramjam, whose errors have one class
XERIAL_HEADER_BYTES: Final = 16
V2_HEADER: Final = struct.Struct(">qiibIhiqqqhii")  # KIP-98
V1_HEADER: Final = struct.Struct(">qiIbbq")
LOG_OVERHEAD: Final = struct.Struct(">qi")  # offset and length, of every format
MAGIC_OFFSET: Final = 16
FIRST_MAGIC_OF_BATCHES: Final = 2


class InflatesTooMuch(Exception):
    """A batch holds more than the limit."""


class PackedRecord(NamedTuple):
    """A record whose value is a whole batch; it stands at the batch's last offset."""

    offset: int
    timestamp: int
    key: None
    value: PackedBatch
    headers: list[Header]


class Inflater:
    """The library's decoders with a limit, which is one for the whole process."""

    def __init__(self) -> None:
        self.limit_bytes = LEAST_LIMIT_BYTES
        self._scratch: mmap.mmap | None = None

    def allow_for(self, largest_batch_bytes: int) -> None:
        """Let batches of this size, as they are stored, inflate as far as honest ones do."""
        limit_bytes = max(self.limit_bytes, LIMIT_RATIO * largest_batch_bytes)
        if limit_bytes > self.limit_bytes:
            self.limit_bytes, self._scratch = limit_bytes, None

    def gzip(self, payload: Any) -> bytes:  # noqa: ANN401 - any buffer
        """Inflate gzip."""
        with gzip.GzipFile(fileobj=io.BytesIO(payload)) as stream:
            inflated = stream.read(self.limit_bytes + 1)
        if len(inflated) > self.limit_bytes:
            raise InflatesTooMuch
        return inflated

    def snappy(self, payload: Any) -> bytes:  # noqa: ANN401 - any buffer
        """Inflate snappy, whose blocks say their size beforehand."""
        view = memoryview(payload)
        blocks = [view]
        if codec._detect_xerial_stream(view):  # noqa: SLF001 - pinned, as all that is private here
            blocks = list(_xerial_blocks(view))
        sizes = (cramjam.snappy.decompress_raw_len(bytes(block)) for block in blocks)
        if sum(sizes) > self.limit_bytes:
            raise InflatesTooMuch
        return bytes(codec.snappy_decode(payload))

    def lz4(self, payload: Any) -> bytes:  # noqa: ANN401 - any buffer
        """Inflate lz4."""
        return self._into_scratch(cramjam.lz4, payload)

    def zstd(self, payload: Any) -> bytes:  # noqa: ANN401 - any buffer
        """Inflate zstd."""
        return self._into_scratch(cramjam.zstd, payload)

    def _into_scratch(self, codec_module: Any, payload: Any) -> bytes:  # noqa: ANN401 - untyped
        # Anonymous memory: a page of it takes room only once it is written to.
        if self._scratch is None:
            self._scratch = mmap.mmap(-1, self.limit_bytes)
        scratch, size_bytes = self._scratch, self.limit_bytes
        try:
            size_bytes = codec_module.decompress_into(payload, scratch)
            return scratch[:size_bytes]
        except cramjam.DecompressionError as error:
            if OVERFLOW_MESSAGE in str(error):
                raise InflatesTooMuch from None
            raise
        finally:
            if size_bytes > KEPT_SCRATCH_BYTES:
                self._scratch = None


inflater: Final = Inflater()


def install() -> None:
    """Let every consumer of this process inflate with a limit."""
    decoders = {
        "gzip_decode": inflater.gzip,
        "snappy_decode": inflater.snappy,
        "lz4_decode": inflater.lz4,
        "zstd_decode": inflater.zstd,
    }
    modules = (default_records, legacy_records, compiled_records, compiled_legacy_records)
    for module in modules:
        for name, decoder in decoders.items():
            if hasattr(module, name):
                setattr(module, name, decoder)


def unread_batches(bytes_data: bytes, next_offset: int) -> bytes:
    """Return the batches of a fetch from the one that holds ``next_offset`` or comes after it."""
    place = 0
    while place + V1_HEADER.size <= len(bytes_data):
        offset, length = LOG_OVERHEAD.unpack_from(bytes_data, place)
        if bytes_data[place + MAGIC_OFFSET] >= FIRST_MAGIC_OF_BATCHES:
            offset += V2_HEADER.unpack_from(bytes_data, place)[6]
        if offset >= next_offset:
            break
        place += LOG_OVERHEAD.size + length
    return bytes_data[place:]


def packed_record(bytes_data: bytes, next_offset: int) -> PackedRecord:
    """Return the batch that holds ``next_offset`` as one record."""
    unread = unread_batches(bytes_data, next_offset)
    first_offset, length = LOG_OVERHEAD.unpack_from(unread)
    raw = unread[: LOG_OVERHEAD.size + length]
    last_offset, timestamp_ms, records = first_offset, V1_HEADER.unpack_from(raw)[5], "some"
    if raw[MAGIC_OFFSET] >= FIRST_MAGIC_OF_BATCHES:
        header = V2_HEADER.unpack_from(raw)
        last_offset, timestamp_ms, records = first_offset + header[6], header[8], str(header[12])
    elif raw[MAGIC_OFFSET] == 0:
        timestamp_ms = -1
    note = (
        f"a compressed batch of {records} records (offsets {min(first_offset, next_offset)} to "
        f"{last_offset}) inflates to more than {inflater.limit_bytes} bytes; the value is the "
        "batch as it lies in the log"
    )
    return PackedRecord(last_offset, timestamp_ms, None, PackedBatch(raw, note), [])


def _xerial_blocks(view: memoryview) -> list[memoryview]:
    blocks, place = [], XERIAL_HEADER_BYTES
    while place < len(view):
        (size_bytes,) = struct.unpack_from(">i", view, place)
        if size_bytes < 0:
            raise ValueError("a block of snappy with a negative size")
        blocks.append(view[place + 4 : place + 4 + size_bytes])
        place += 4 + size_bytes
    return blocks
