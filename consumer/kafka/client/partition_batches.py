"""Builds the batches of one partition: in C, or with aiokafka if the C module was not built.

Both give the same records in the same order, in the same bytes. Only the end of a full batch can
differ: the library never fills its last byte, and a header name that is not UTF-8 gets a batch of
its own. ``tests/unit/kafka/test_partition_batches.py`` compares them.
"""

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Protocol

from consumer.kafka.client import private_api
from consumer.pipeline.records import Header


class PartitionBatches(Protocol):
    """The batches for one partition, built by the C module or by aiokafka."""

    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = (), /
    ) -> None:
        """Add one record."""

    def append_pairs(self, pairs: Iterable[tuple[bytes | None, bytes | None]], /) -> None:
        """Add a record without headers for each pair of a key and a value."""

    def finish(self) -> Sequence[private_api.RecordsBuilder]:
        """Return the batches that have records; no record can be added afterwards."""


class LibraryPartitionBatches:
    """Does the same as ``_batch_builder.PartitionBatches``, with the builders of aiokafka."""

    __slots__ = ("_append", "_batch_bytes", "_builders", "_timestamp_ms")

    def __init__(self, batch_bytes: int, timestamp_ms: int) -> None:
        self._batch_bytes = batch_bytes
        self._timestamp_ms = timestamp_ms
        self._builders: list[private_api.LibraryRecordsBuilder] = []
        self._open()

    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = (), /
    ) -> None:
        """Add one record."""
        try:
            if self._append(self._timestamp_ms, key, value, headers):
                return
        except TypeError:  # a RawHeaderName: the compiled builder takes plain strings only
            self._open(raw_header_names=True)  # a batch for this record only
            self._append(self._timestamp_ms, key, value, headers)
            self._open()
            return
        self._open()
        self._append(self._timestamp_ms, key, value, headers)

    def append_pairs(self, pairs: Iterable[tuple[bytes | None, bytes | None]], /) -> None:
        """Add a record without headers for each pair of a key and a value."""
        for key, value in pairs:
            self.append(key, value)

    def finish(self) -> list[private_api.LibraryRecordsBuilder]:
        """Return the batches that have records; no record can be added afterwards."""
        return [builder for builder in self._builders if builder.record_count]

    def _open(self, *, raw_header_names: bool = False) -> None:
        builder = private_api.LibraryRecordsBuilder(
            self._batch_bytes, raw_header_names=raw_header_names
        )
        self._builders.append(builder)
        self._append = builder.append


crc32c: Callable[[bytes, int], int] = private_api.crc32c
new_partition_batches: Callable[..., PartitionBatches] = LibraryPartitionBatches


def use(module: ModuleType | None) -> None:
    """Use the functions of the C module, or those of aiokafka if `module` is None."""
    global crc32c, new_partition_batches  # noqa: PLW0603 - chosen at import, and by tests
    crc32c = private_api.crc32c if module is None else module.crc32c
    new_partition_batches = LibraryPartitionBatches if module is None else module.PartitionBatches


try:
    from consumer.kafka.client import _batch_builder
except ImportError:  # it was installed without a C compiler
    pass
else:
    use(_batch_builder)
