"""Memory stays bounded whatever the records are: huge ones, and small ones that inflate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from consumer.pipeline.routing import home
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, send
from tests.support.verdicts import wait_until_handled

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

MIB = 1024 * 1024
LARGE_BYTES = 10_000_000
LARGE_RECORDS = 9
BOMB_BYTES = 100 * MIB
HANDLED_SECONDS = 90.0


def test_large_records_take_bounded_memory(cluster: Cluster, names: Names) -> None:
    """Records of 10 MB, most of them forwarded, all come out, with a few at a time in memory."""
    with Deployment(cluster, names, create_topics=False) as deployment:
        cluster.set_config(deployment.input_topic, max_message_bytes="11000000")
        ids = [f"large_{number}" for number in range(LARGE_RECORDS)]
        padding = "x" * (LARGE_BYTES - 1000)
        for number, one in enumerate(ids):
            value = checkpoint(one, padding=padding)
            cluster.produce(deployment.input_topic, [NewRecord(value, partition=number % 3)])
        service = deployment.start(CREATE_TOPICS="true")
        deployment.wait_until_running(3, service)
        wait_until_handled(cluster, names, HANDLED_SECONDS)
        records = cluster.read(deployment.ready_topic)
        assert sorted(json.loads(record.value or b"")["id"] for record in records) == sorted(ids)
        assert any(home(one, 3) != number % 3 for number, one in enumerate(ids))  # forwarded
        assert service.peak_memory_bytes < 450 * MIB


def test_a_bomb_takes_bounded_memory_and_is_a_dead_letter(cluster: Cluster, names: Names) -> None:
    """A batch of kilobytes that inflates to 100 MiB is put aside as it is; the next is read."""
    bombs = {"zstd": 0, "lz4": 1}
    with Deployment(cluster, names) as deployment:
        for compression, partition in bombs.items():
            producer = Producer(
                {
                    **cluster.settings,
                    "compression.type": compression,
                    "message.max.bytes": BOMB_BYTES + MIB,
                }
            )
            bomb = NewRecord(b" " * BOMB_BYTES, partition=partition)
            send(producer, deployment.input_topic, [bomb])
            after = NewRecord(checkpoint(f"after_{compression}"), partition=partition)
            cluster.produce(deployment.input_topic, [after])
        service = deployment.start()
        deployment.wait_until_running(3, service)
        wait_until_handled(cluster, names)
        assert len(cluster.read(deployment.ready_topic)) == len(bombs)
        letters = cluster.read(deployment.dead_letter_topic)
        assert len(letters) == len(bombs)
        for letter in letters:
            assert letter.header("checkpoint-ready.reason") == b"too_large"
            assert b"inflates to more than" in (
                letter.header("__connect.errors.exception.message") or b""
            )
            assert 0 < len(letter.value or b"") < 2 * MIB
        assert service.peak_memory_bytes < 250 * MIB
