"""The home of an id, against the client's own partitioner."""

import random

from aiokafka.partitioner import murmur2

from consumer.pipeline.routing import home, partition_for_key


def test_home_equals_the_clients_murmur2() -> None:
    """A thousand keys of many lengths and scripts hash as the client's pure-Python murmur2 does."""
    generator = random.Random(7)  # noqa: S311 - keys for a test are no secrets
    for length in range(1000):
        key = "".join(chr(generator.choice([97, 233, 0x4E2D, 0x1F600])) for _ in range(length % 64))
        expected = (murmur2(key.encode()) & 0x7FFFFFFF) % 12
        assert home(key, 12) == expected
        assert partition_for_key(key.encode(), 12) == expected
