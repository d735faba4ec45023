"""The broker refuses a batch: no transaction is committed without it, and nothing gets lost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SHARDS = 3
LIMIT_BYTES = 2000


def test_an_event_above_a_lowered_limit_is_a_dead_letter(cluster: Cluster, names: Names) -> None:
    """Events that no longer fit become `too_large` dead letters; their neighbours are published."""
    before, after = numbered_ids(60, "before"), numbered_ids(300, "after")
    headers = [("h", b"\x00")]
    large = [
        NewRecord(checkpoint(f"large_{n}", padding="x" * LIMIT_BYTES), os.urandom(8), -1, headers)
        for n in range(4)
    ]
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        cluster.produce(deployment.input_topic, scattered(before))
        assert_exactly_once(cluster, names, before)
        cluster.set_config(deployment.ready_topic, max_message_bytes=str(LIMIT_BYTES))
        mixed = scattered(after)
        mixed[100:100] = large[:2]
        mixed[250:250] = large[2:]
        cluster.produce(deployment.input_topic, mixed)
        assert_exactly_once(cluster, names, [*before, *after])
        # It went the way this test is about: a batch was refused and the task thrown away for it.
        assert any("large" in line["error"].lower() for line in service.logged("task_failed"))
        letters = cluster.read(deployment.dead_letter_topic)
        assert {letter.header("checkpoint-ready.reason") for letter in letters} == {b"too_large"}
        sent = sorted((record.key, record.value) for record in large)
        assert sorted((letter.key, letter.value) for letter in letters) == sent
        assert all(letter.headers[:1] == headers for letter in letters)
        assert service.running_shards() == frozenset(range(SHARDS))
