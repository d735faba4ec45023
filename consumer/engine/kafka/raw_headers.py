"""Header names that are no UTF-8: brokers take them, so a shard must live with them.

The compiled record classes decode every header name strictly. One hostile record would make its
partition unreadable for ever. Only where that happens, a batch is read, and a record is written,
by the library's slower Python classes, through which a name keeps its own bytes.
"""

from typing import Any, Self, SupportsIndex

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy, _DefaultRecordBatchPy
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy

FIRST_MAGIC_WITH_HEADERS = 2


class RawHeaderName(str):
    """A header's name that encodes to the very bytes it was read from."""

    __slots__ = ("_raw",)
    _raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        """Take the bytes; what is no UTF-8 among them shows as surrogates."""
        name = super().__new__(cls, raw.decode("utf-8", "surrogateescape"))
        name._raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        """Return the bytes as they were read, whatever the encoding."""
        return self._raw


class _Part(bytearray):
    """A slice of a batch; the library calls ``decode`` on header names only."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raw = bytes(self)
        try:
            return raw.decode(encoding, errors)
        except UnicodeDecodeError:
            return RawHeaderName(raw)


class _Buffer(bytearray):
    """A batch's bytes whose slices decode leniently."""

    def __getitem__(self, place: SupportsIndex | slice) -> Any:  # noqa: ANN401 - int or bytearray
        part = super().__getitem__(place)
        return _Part(part) if isinstance(place, slice) else part


class LenientBatch(_DefaultRecordBatchPy):
    """A record batch that reads any header name."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class LenientRecords(_MemoryRecordsPy):
    """The batches of a fetched partition, read leniently."""

    def next_batch(self) -> LenientBatch | LegacyRecordBatch | None:
        """Return the next batch, or None at the end."""
        found = self._next_slice
        if found is None:
            return None
        self._cache_next()
        magic = found[self.MAGIC_OFFSET]
        if magic < FIRST_MAGIC_WITH_HEADERS:
            return LegacyRecordBatch(found, magic)
        return LenientBatch(found)


class RawBatchBuilder(BatchBuilder):
    """A transactional batch for records with such header names."""

    def __init__(self, batch_bytes: int) -> None:
        super().__init__(batch_bytes, 0, is_transactional=1)
        self._builder = _DefaultRecordBatchBuilderPy(2, 0, 1, -1, -1, 0, batch_bytes)

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, epoch, base_sequence)
