"""Header names that are not UTF-8: brokers accept them, so a shard must read and write them.

The compiled batch builder takes plain strings only. A record with such a name is written by the
library's slower Python builder, through which the name keeps its own bytes.
"""

from typing import Self

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


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


def header_name(raw: bytes) -> str:
    """Return a header's name, which keeps its bytes if they are not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawHeaderName(raw)


class RawBatchBuilder(BatchBuilder):
    """A transactional batch for records with such header names."""

    def __init__(self, batch_bytes: int) -> None:
        super().__init__(batch_bytes, 0, is_transactional=1)
        self._builder = _DefaultRecordBatchBuilderPy(2, 0, 1, -1, -1, 0, batch_bytes)

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, epoch, base_sequence)
