"""The partition that Kafka's default partitioner selects for a key.

The service selects the partition of a ready event in this way, from the key. The home shard of an
id is computed in the same way, from the id.
"""

from typing import Final

from checkpoint_ready_testkit.validation import LAST_PARTITION, require_integer

_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF
_WORD_BYTES: Final = 4


def default_partition(key: bytes, partitions: int) -> int:
    """Return the partition for a key in a topic with this number of partitions.

    Raises:
        ValueError: a topic cannot have this number of partitions.
    """
    require_integer("partitions", partitions, 1, LAST_PARTITION + 1)
    return (_murmur2(key) & _POSITIVE) % partitions


def _murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of `data`, with the seed of Kafka."""
    hashed = _SEED ^ len(data)
    whole = len(data) - len(data) % _WORD_BYTES
    for start in range(0, whole, _WORD_BYTES):
        word = int.from_bytes(data[start : start + _WORD_BYTES], "little")
        word = word * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        hashed = (hashed * _MULTIPLIER & _MASK) ^ word
    if whole < len(data):
        hashed ^= int.from_bytes(data[whole:], "little")
        hashed = hashed * _MULTIPLIER & _MASK
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _MASK
    return hashed ^ hashed >> 15
