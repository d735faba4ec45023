"""A record as the checker reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.meaning import Header

NO_FINGERPRINT = 0


class ReadRecord(NamedTuple):
    """A record and its place."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]

    @property
    def place(self) -> str:
        """Where it stands, for a sentence."""
        return f"{self.topic}/{self.partition} at offset {self.offset}"

    @property
    def fingerprint(self) -> int:
        """A number of 64 bits that stands for all of it but its place; never NO_FINGERPRINT."""
        return (
            hash((self.timestamp_ms, content_fingerprint(self.key, self.value, self.headers))) or 1
        )


def content_fingerprint(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> int:
    """Return a number that stands for what a producer wrote: the bytes of all parts.

    Python's own hash is another one in each process, but good for 64 bits within one, and fast.
    """
    return hash((key, value, tuple(headers))) or 1
