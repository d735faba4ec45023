"""Traps of a changelog that the broker compacts, and of restores that take long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaException, Producer

from consumer.shard.events import Step
from tests.integration.log_files import batches
from tests.integration.tampered_service import frozen_at
from tests.integration.test_restore import log_starts, open_transaction
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, numbered_ids, scattered, send
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once, shard_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.log_files import Batch
    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
SESSION_TIMEOUT_MS = 1000
REQUEST_SECONDS = 20.0
# Every write opens a new segment, and what is closed is compacted down to the last record of a key.
COMPACT_NOW = {
    "segment_ms": "1",
    "min_cleanable_dirty_ratio": "0.0",
    "min_compaction_lag_ms": "0",
    "delete_retention_ms": "0",
}
FENCE_MARK = b'{"version":1,"owner":"foreign"}'


@pytest.fixture
def one_shard(tidying_cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """One shard, so that its changelog is all there is to look at."""
    with Deployment(tidying_cluster, names, input_partitions=1, SHARDS=1) as deployment:
        yield deployment


def write_marks(deployment: Deployment, role: str, count: int = 1, *, commit: bool = True) -> None:
    """Write a start's mark to the changelog, each in a foreign producer's own transaction."""
    settings = deployment.cluster.settings
    foreign = Producer({**settings, "transactional.id": deployment.names.group(role)})
    foreign.init_transactions(REQUEST_SECONDS)
    for _ in range(count):
        foreign.begin_transaction()
        send(foreign, deployment.changelog_topic, [NewRecord(FENCE_MARK, b"f:", 0)])
        if commit:
            foreign.commit_transaction(REQUEST_SECONDS)
        else:
            foreign.abort_transaction(REQUEST_SECONDS)


def abandon_transaction(deployment: Deployment, role: str) -> None:
    """Leave a transaction open on the changelog and let an heir fence its producer.

    The marker has the heir's epoch, which a broker remembers by the emptied batch of that marker.
    """
    abandoned = open_transaction(deployment, 0, role)
    heir = deployment.cluster.settings | {"transactional.id": deployment.names.group(role)}
    Producer(heir).init_transactions(REQUEST_SECONDS)
    del abandoned


def log_of(deployment: Deployment, data: Path) -> list[Batch]:
    """Return what is left of the changelog's only partition on the broker's disk."""
    return batches(data, deployment.changelog_topic, 0)


def publish(deployment: Deployment, *waves: list[str]) -> list[str]:
    """Publish wave after wave by a process of its own, which then ends by a power cut."""
    service = deployment.start("one")
    ids: list[str] = []
    for wave in waves:
        ids += wave
        deployment.cluster.produce(deployment.input_topic, scattered(wave))
        assert_exactly_once(deployment.cluster, deployment.names, ids)
    service.kill()
    return ids


def assert_complete(deployment: Deployment, old_ids: list[str], restored: int) -> None:
    """Check that the next start knows all ids: it publishes only new ones."""
    new_ids = numbered_ids(30, "new")
    deployment.cluster.produce(deployment.input_topic, scattered([*old_ids, *new_ids]))
    service = deployment.start("one")
    assert service.wait_for_log("restored")["ids"] == restored
    assert_exactly_once(deployment.cluster, deployment.names, [*old_ids, *new_ids])


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
def test_a_changelog_that_ends_in_a_marker(
    one_shard: Deployment, tidying_data: Path, *, commit: bool
) -> None:
    """Behind the last record there is only a transaction's marker, and the restore ends."""
    ids = publish(one_shard, numbered_ids(60))
    write_marks(one_shard, "foreign", commit=commit)
    wait_until(
        lambda: log_of(one_shard, tidying_data)[-1].is_control, what="a marker at the very end"
    )
    assert_complete(one_shard, ids, restored=len(ids))


def test_a_tail_that_was_compacted_away(one_shard: Deployment, tidying_data: Path) -> None:
    """Only emptied batches are left of the tail, markers among them; the client fails on those."""
    one_shard.cluster.set_config(one_shard.changelog_topic, **COMPACT_NOW)
    ids = publish(one_shard, numbered_ids(40, "first"), numbered_ids(40, "second"))
    for producer in range(3):
        abandon_transaction(one_shard, f"abandoning-{producer}")

    def emptied_markers() -> list[Batch]:
        # Each look writes, for only what lies before the newest segment is compacted.
        write_marks(one_shard, "last", commit=False)
        log = log_of(one_shard, tidying_data)
        return [batch for batch in log if batch.is_control and not batch.records]

    wait_until(emptied_markers, what="an emptied control batch", poll_seconds=0.2)
    assert_complete(one_shard, ids, restored=len(ids))


def test_a_mark_that_is_compacted_away_before_it_is_read(
    one_shard: Deployment, tidying_data: Path
) -> None:
    """A later start's mark has replaced it: the restore ends behind its place."""
    ids = publish(one_shard, numbered_ids(60))
    one_shard.cluster.set_config(one_shard.changelog_topic, **COMPACT_NOW)
    service = one_shard.start("one", command=frozen_at(Step.BARRIER_SET))
    service.wait_for_log("task_state", state="setting_barrier")
    wait_until(lambda: service.is_frozen, what="the freeze")

    def committed_mark() -> int | None:
        # A commit is answered before its marker is written, which comes right behind the mark.
        *_, last_data, last = log_of(one_shard, tidying_data)
        return last_data.last_offset if last.is_control and not last_data.is_control else None

    mark = wait_until(committed_mark, what="the marker of its commit")

    def is_gone() -> bool:
        write_marks(one_shard, "later", 2)
        left = (batch for batch in log_of(one_shard, tidying_data) if batch.records)
        return not any(batch.first_offset <= mark <= batch.last_offset for batch in left)

    wait_until(is_gone, what="the compaction of the mark", poll_seconds=0.2)
    new_ids = numbered_ids(30, "new")
    one_shard.cluster.produce(one_shard.input_topic, scattered([*ids, *new_ids]))
    service.resume()
    assert service.wait_for_log("restored")["ids"] == len(ids)
    assert_exactly_once(one_shard.cluster, one_shard.names, [*ids, *new_ids])


def test_a_restore_longer_than_the_session(cluster: Cluster, names: Names) -> None:
    """A shard that restores for several session timeouts costs its process no membership."""
    held, ids, new_ids = 1, numbered_ids(60, "old"), numbered_ids(60, "new")

    with Deployment(cluster, names, SESSION_TIMEOUT_MS=SESSION_TIMEOUT_MS) as deployment:
        service = deployment.start()
        cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(cluster, names, ids)
        service.kill()
        foreign = open_transaction(deployment, held)
        wait_until(lambda: not members(cluster, deployment), what="the end of the session")

        again = deployment.start()
        again.wait_for_log("task_state", shard=held, state="restoring")
        (before,) = members(cluster, deployment)
        again.wait_for_log("restore_waiting", shard=held)  # said after three seconds
        assert members(cluster, deployment) == [before]
        foreign.commit_transaction(REQUEST_SECONDS)
        cluster.produce(deployment.input_topic, scattered([*ids, *new_ids]))
        assert_exactly_once(cluster, names, [*ids, *new_ids])
        assert members(cluster, deployment) == [before]
        # No shard was given away and taken back either.
        assert len(again.logged("task_state", state="fencing")) == SHARDS


def members(cluster: Cluster, deployment: Deployment) -> list[str]:
    """Return the ids that the group knows its members by; a member that rejoins gets a new one."""
    group = deployment.group
    described = cluster.admin.describe_consumer_groups([group])[group].result(REQUEST_SECONDS)
    return sorted(member.member_id for member in described.members)


def restoring_shards(service: ServiceProcess) -> frozenset[int]:
    """Return the shards whose task restores now, by the log."""
    states = {line["shard"]: line["state"] for line in service.logged("task_state")}
    return frozenset(shard for shard, state in states.items() if state == "restoring")


def test_rebalances_during_a_restore(cluster: Cluster, names: Names) -> None:
    """Another process joins and leaves while shards restore: one moves, restores, comes back."""
    everything = frozenset(range(SHARDS))
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic, pause_ms=5) as stream:
            first = deployment.start("one")
            deployment.wait_until_running(SHARDS, first)
            stream.wait_for_more(50)
            first.kill()
            foreign = [open_transaction(deployment, n, f"foreign-{n}") for n in everything]
            second = deployment.restart(first)
            wait_until(lambda: restoring_shards(second) == everything, what="the restores")
            for _ in range(2):
                third = deployment.start("two")
                moved = third.wait_for_log("task_state", state="restoring")["shard"]
                second.wait_for_log("task_state", shard=moved, state="closed")
                lines = len(second.lines)
                assert third.terminate() == 0, third.tail()
                second.wait_for_log("task_state", after=lines, shard=moved, state="restoring")
            assert not second.running_shards()
            for producer in foreign:
                producer.commit_transaction(REQUEST_SECONDS)
            deployment.wait_until_running(SHARDS, second)
            stream.wait_for_more(20)
        records = assert_exactly_once(cluster, names, stream.ids)
        assert {shard_of(record) for record in records} == everything
        assert "Traceback" not in second.tail()


class TestDeletedState:
    """Records are missing from the beginning of the changelog, and compaction deletes none."""

    def test_compaction_leaves_the_log_start(
        self, one_shard: Deployment, tidying_data: Path
    ) -> None:
        """Whatever is compacted away the log still starts at 0: more would mean a deletion."""
        topic = one_shard.changelog_topic
        one_shard.cluster.set_config(topic, **COMPACT_NOW)
        ids = publish(one_shard, numbered_ids(40))
        first_id = min(
            batch.first_offset for batch in log_of(one_shard, tidying_data) if batch.records
        )

        def is_compacted() -> bool:
            write_marks(one_shard, "later", 2)
            left = [
                batch.first_offset for batch in log_of(one_shard, tidying_data) if batch.records
            ]
            return min(left) > first_id

        wait_until(is_compacted, what="a compaction of the first records", poll_seconds=0.2)
        assert log_starts(one_shard.cluster, topic) == {0: 0}
        assert_complete(one_shard, ids, restored=len(ids))

    def test_the_broker_refuses_to_delete_records(self, one_shard: Deployment) -> None:
        """As long as the policy is `compact` alone, which every start verifies, nobody deletes."""
        publish(one_shard, numbered_ids(10))
        with pytest.raises(KafkaException, match="Policy violation"):
            one_shard.cluster.delete_records(one_shard.changelog_topic, {0: 3})

    def test_a_changelog_that_lost_its_beginning(self, one_shard: Deployment) -> None:
        """The policy was another for a while: ids are gone, and the shard is refused for it."""
        ids, topic = publish(one_shard, numbered_ids(20)), one_shard.changelog_topic
        # Other inputs are noted, so that what the changelog says of itself comes after the ids.
        more = one_shard.names.topic("more")
        one_shard.cluster.create_topics({more: 1})
        service = one_shard.start("one", INPUT_TOPICS=f"{one_shard.input_topic},{more}")
        service.wait_for_log("task_state", state="running")
        service.kill()
        metas = [r.offset for r in one_shard.cluster.read(topic) if r.key == b"m:"]
        one_shard.cluster.set_config(topic, cleanup_policy="compact,delete")
        one_shard.cluster.delete_records(topic, {0: metas[-1]})
        one_shard.cluster.set_config(topic, cleanup_policy="compact")

        one_shard.cluster.produce(one_shard.input_topic, scattered(ids))
        service = one_shard.start("one")
        assert service.wait() == 1, service.tail()
        line = next(str(line["text"]) for line in service.lines if "text" in line)
        assert f"{topic}/0" in line
        assert f"begins at offset {metas[-1]}" in line
        assert "--accept-empty-state" in line
        assert len(one_shard.cluster.read(one_shard.ready_topic)) == len(ids)

        accepting = ("consumer", "run", "--accept-empty-state")
        service = one_shard.start("one", command=accepting)
        service.wait_for_log("task_state", state="running")
