# ruff: noqa: PYI021 - the interface of the C module is described here
"""Reads and writes record batches in C. ``compiled.py`` selects it where it was built."""

from collections.abc import Callable, Sequence
from typing import final

from consumer.pipeline.records import Header

@final
class Record:
    """A record of a fetched batch. It satisfies ``SourceRecord``."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> tuple[Header, ...]: ...

def read_records(
    batch: bytes,
    position: int,
    most_records: int,
    limit: int,
    base_offset: int,
    first_delta: int,
    base_timestamp: int,
    append_time: int | None,
    /,
) -> tuple[list[Record], int, int]:
    """Return records of an uncompressed batch, the position after them, and their header count.

    Stop before a record that no client writes in this way: a length in more than 28 bits, a length
    that does not fit, a header name that is not UTF-8, more headers than
    ``MAX_HEADERS``. Records before ``limit`` are read, at most ``most_records``.

    Args:
        batch: the whole batch, with its header.
        position: where the first record begins.
        most_records: how many records to read at most.
        limit: a position; no record that begins there or later is read.
        base_offset: the offset of the batch.
        first_delta: the offset delta that the first record must have; each next one has one more.
            -1: any.
        base_timestamp: milliseconds.
        append_time: the timestamp of each record, if the broker assigned it.
    """

def crc32c(content: bytes, position: int, /) -> int:
    """Return the CRC-32C of the bytes from a position on (RFC 3720, appendix B.4)."""

@final
class BatchBuilder:
    """One transactional batch (KIP-98). Only ``PartitionBatches`` creates it and adds records."""

    record_count: int

    def set_producer_state(self, producer_id: int, epoch: int, base_sequence: int, /) -> None:
        """Set what identifies the producer, and the sequence number of the first record."""
    def build(self) -> bytes:
        """Return the batch. It can be built only once."""
    def size(self) -> int:
        """Return the size in bytes, before compression."""

@final
class PartitionBatches:
    """The batches for one partition: the last one accepts records, those before are full.

    ``batch_bytes`` limits a batch with its header. Only a batch with a single record may be larger.
    """

    def __init__(
        self,
        batch_bytes: int,
        timestamp_ms: int,
        codec: int = 0,
        compress: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Start empty. ``compress`` must use the algorithm that ``codec`` names (KIP-98)."""
    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = (), /
    ) -> None:
        """Add a record.

        Raises:
            TypeError: a key, a value or a header has another type. Nothing was added.
        """
    def finish(self) -> list[BatchBuilder]:
        """Return the batches that have records; no record can be added afterwards."""
