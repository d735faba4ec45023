# ruff: noqa: PYI021 - the interface of the C module is described here
"""Builds record batches in C. ``partition_batches.py`` uses this module if it was built."""

from collections.abc import Iterable, Sequence
from typing import final

from consumer.pipeline.records import Header

def crc32c(content: bytes, position: int, /) -> int:
    """Return the CRC-32C of the bytes from a position on (RFC 3720, appendix B.4)."""

@final
class BatchBuilder:
    """One transactional batch (KIP-98). Only ``PartitionBatches`` creates it and adds records."""

    record_count: int

    def set_producer_state(self, producer_id: int, epoch: int, base_sequence: int, /) -> None:
        """Set the producer's id and epoch, and the sequence number of the first record."""
    def build(self) -> bytes:
        """Return the batch. It can be built only once."""
    def size(self) -> int:
        """Return the size in bytes."""

@final
class PartitionBatches:
    """The batches for one partition. The last batch accepts records; the batches before are full.

    ``batch_bytes`` limits a batch with its header. Only a batch with a single record can be larger.
    """

    def __init__(self, batch_bytes: int, timestamp_ms: int) -> None:
        """Start empty. All records get this timestamp.

        Raises:
            ValueError: `batch_bytes` is not a length of 32 bits.
        """
    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = (), /
    ) -> None:
        """Add a record.

        Raises:
            TypeError: a key, a value or a header has another type. Nothing was added.
        """
    def append_pairs(self, pairs: Iterable[tuple[bytes | None, bytes | None]], /) -> None:
        """Add a record without headers for each pair of a key and a value.

        Raises:
            TypeError: a pair, a key or a value has another type. The pairs before it were added.
        """
    def finish(self) -> list[BatchBuilder]:
        """Return the batches that have records; no record can be added afterwards."""
