"""The home of an id: the one shard that decides about it, wherever its records arrive."""

from typing import Final

from murmurhash2 import murmurhash2

_KAFKA_SEED: Final = 0x9747B28C
_POSITIVE: Final = 0x7FFFFFFF


def home(checkpoint_id: str, shards: int) -> int:
    """Return the shard that decides about `checkpoint_id`."""
    return (murmurhash2(checkpoint_id.encode(), _KAFKA_SEED) & _POSITIVE) % shards


def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner picks for `key`."""
    return (murmurhash2(key, _KAFKA_SEED) & _POSITIVE) % partitions
