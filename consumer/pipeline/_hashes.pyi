# ruff: noqa: PYI021 - the interface of the C module is described here
"""The functions of ``hashes.py`` in C."""

def digest(content: str | bytes, /) -> bytes:
    """Return 16 bytes of BLAKE2b (RFC 7693) of bytes, or of the UTF-8 of a string."""

def versioned_digest(version: int, content: str | bytes, /) -> bytes:
    """Return a version of one byte, followed by 15 bytes of BLAKE2b of the content."""

def default_partition(key: str | bytes, partitions: int, /) -> int:
    """Return the partition that Kafka's default partitioner selects for a key."""
