"""The hashes of ids, contents and keys: in C, or in Python if the C module was not built.

Both give the same results, which ``tests/unit/pipeline/test_hashes.py`` checks. The changelog
contains the digests, and the home shard of an id is the partition for the id as a key. So no result
may ever change.
"""

from collections.abc import Callable
from hashlib import blake2b
from types import ModuleType
from typing import Final

from murmurhash2 import murmurhash2

DIGEST_BYTES: Final = 16
_KAFKA_SEED: Final = 0x9747B28C
_POSITIVE: Final = 0x7FFFFFFF
# Copying a fresh hasher takes 0.4 µs less than creating one with its keyword argument.
_new_hasher: Final = blake2b(digest_size=DIGEST_BYTES).copy
_new_shorter_hasher: Final = blake2b(digest_size=DIGEST_BYTES - 1).copy


def python_digest(content: str | bytes) -> bytes:
    """Return 16 bytes of BLAKE2b (RFC 7693) of bytes, or of the UTF-8 of a string."""
    hasher = _new_hasher()
    hasher.update(content.encode() if isinstance(content, str) else content)
    return hasher.digest()


def python_versioned_digest(version: int, content: str | bytes) -> bytes:
    """Return a version of one byte, followed by 15 bytes of BLAKE2b of the content."""
    hasher = _new_shorter_hasher()
    hasher.update(content.encode() if isinstance(content, str) else content)
    return bytes([version]) + hasher.digest()


def python_default_partition(key: str | bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner selects for a key."""
    key_bytes = key.encode() if isinstance(key, str) else key
    return (murmurhash2(key_bytes, _KAFKA_SEED) & _POSITIVE) % partitions


def _compiled() -> ModuleType | None:
    try:
        from consumer.pipeline import _hashes  # noqa: PLC0415 - it may not exist
    except ImportError:
        return None
    return _hashes


_c: Final = _compiled()
digest: Final[Callable[[str | bytes], bytes]] = _c.digest if _c else python_digest
versioned_digest: Final[Callable[[int, str | bytes], bytes]] = (
    _c.versioned_digest if _c else python_versioned_digest
)
default_partition: Final[Callable[[str | bytes, int], int]] = (
    _c.default_partition if _c else python_default_partition
)
