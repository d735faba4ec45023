"""Traps of the transactional producer, on the real broker: refusals, sequence numbers, fences."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.group import LeaveGroupRequest

from consumer.errors import TaskFailed
from consumer.kafka.client import Connection
from consumer.kafka.client.private_client import BootstrapServers
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.client.writer import MAX_RECORDS_PER_PRODUCER, KafkaWriter
from consumer.shard.changelog import read_id_entry
from tests.integration.tampered_service import aged, haunted, slow
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once, event_id

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
REQUEST_SECONDS = 20.0
FENCED_SECONDS = 8.0
TRIES = 4
TINY_BYTES = 150  # the broker takes no batch of ours in less
LAST_SEQUENCE = 2**31 - 1
# A shard that may not start leaves its open transaction to this timeout.
TRANSACTION_TIMEOUT_MS = 3000
POISON = b'{"id": "poison'


class Refusal(NamedTuple):
    """A topic that takes nothing for a while."""

    role: str
    records: list[NewRecord]
    ids: list[str]
    poison: list[bytes]


def refusal(role: str) -> Refusal:
    """Return records of one partition whose one transaction also needs the topic of this role."""
    ids = ids_at_home(0, SHARDS, 20)
    if role == "repartition":
        ids += ids_at_home(1, SHARDS, 20)
    poison = [POISON] if role == "dead letters" else []
    values = [*poison, *(checkpoint(one) for one in ids)]
    return Refusal(role, [NewRecord(value, b"k", 0) for value in values], ids, poison)


def stored_ids(deployment: Deployment) -> list[str]:
    """Return the ids that the committed changelog holds."""
    return sorted(
        read_id_entry(record.value).id
        for record in deployment.cluster.read(deployment.changelog_topic)
        if (record.key or b"").startswith(b"i:") and record.value is not None
    )


def visible_ids(deployment: Deployment) -> list[str]:
    """Return the ids that a subscriber can see."""
    return sorted(map(event_id, deployment.cluster.read(deployment.ready_topic)))


@pytest.mark.parametrize("role", ["changelog", "repartition", "dead letters"])
def test_one_batch_alone_is_refused(cluster: Cluster, names: Names, role: str) -> None:
    """The ready batch is written, its neighbour refused: nothing shows until the limit is mended.

    The library would commit the ready events without the refused batch.
    """
    before, refused = numbered_ids(30, "before"), refusal(role)
    with Deployment(cluster, names, TRANSACTION_TIMEOUT_MS=TRANSACTION_TIMEOUT_MS) as deployment:
        service = deployment.start()
        cluster.produce(
            deployment.input_topic, [NewRecord(checkpoint(one), b"k") for one in before]
        )
        assert_exactly_once(cluster, names, before)
        topic = {
            "changelog": deployment.changelog_topic,
            "repartition": deployment.repartition_topic,
            "dead letters": deployment.dead_letter_topic,
        }[role]
        limit = cluster.config(topic)["max.message.bytes"]

        service.pause()  # so that all of it is one transaction
        cluster.set_config(topic, max_message_bytes=str(TINY_BYTES))
        cluster.produce(deployment.input_topic, refused.records)
        lines = len(service.lines)
        service.resume()
        assert "TooLarge" in service.wait_for_log("task_failed", after=lines, shard=0)["error"]
        # The ready batch was taken, and is there for whoever reads what is not committed.
        dirty = cluster.read(deployment.ready_topic, committed_only=False)
        assert set(refused.ids[:20]) <= set(map(event_id, dirty))
        assert visible_ids(deployment) == stored_ids(deployment) == before
        assert cluster.read(deployment.dead_letter_topic) == []

        cluster.set_config(topic, max_message_bytes=limit)
        assert_exactly_once(cluster, names, [*before, *refused.ids])
        letters = cluster.read(deployment.dead_letter_topic)
        assert [letter.value for letter in letters] == refused.poison
        assert stored_ids(deployment) == sorted([*before, *refused.ids])


def test_sequence_numbers_do_not_survive_their_wrap(cluster: Cluster, names: Names) -> None:
    """Behind 2^31 records of a partition the broker refuses the library's next number for good."""
    topic = names.topic()
    cluster.create_topics({topic: 1})
    connection = Connection(
        BootstrapServers(cluster.bootstrap_servers.split(",")), {"security_protocol": "PLAINTEXT"}
    )

    async def write_until_refused() -> int:
        writer = KafkaWriter(connection, names.group(), TRANSACTION_TIMEOUT_MS)
        await writer.fence()
        manager = writer._producer._txn_manager  # noqa: SLF001 - the only way to get there soon
        manager._sequence_numbers = defaultdict(lambda: LAST_SEQUENCE - 25)  # noqa: SLF001 - same
        try:
            for transactions in range(10):
                transaction_batches = TransactionBatches({topic: 1000})
                for _ in range(10):
                    transaction_batches.to(topic, 0).append(b"k", b"v")
                try:
                    await writer.send(transaction_batches)
                    await writer.commit()
                except TaskFailed:
                    return transactions
        finally:
            await writer.close()
        raise AssertionError("the wrap was taken")

    transactions = asyncio.run(write_until_refused())
    assert transactions == 3
    assert len(cluster.read(topic)) == 10 * transactions
    assert 2 * MAX_RECORDS_PER_PRODUCER <= 2**31


def test_producers_are_renewed_before_their_sequence_numbers_end(
    cluster: Cluster, names: Names
) -> None:
    """A service at the end of its producers' numbers renews each in mid-stream, none refused."""
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic, pause_ms=4) as stream:
            command = aged(MAX_RECORDS_PER_PRODUCER - 200)
            service = deployment.start(command=command)
            for shard in range(SHARDS):
                service.wait_for_log("transaction_committed", shard=shard)
                failed = service.wait_for_log("task_failed", shard=shard)
                assert "sequence numbers are used up" in failed["error"]
                lines = service.lines.index(failed)
                service.wait_for_log("transaction_committed", shard=shard, after=lines)
            stream.wait_for_more(50)
        assert_exactly_once(cluster, names, stream.ids)
        assert Counter(line["shard"] for line in service.logged("task_failed")) == Counter(
            range(SHARDS)
        )


def test_a_late_init_producer_id_of_its_own(cluster: Cluster, names: Names) -> None:
    """Fenced by what is left of its own former start, each shard comes back and publishes on."""
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic, pause_ms=5, shards=SHARDS) as stream:
            service = deployment.start(command=haunted(1.5))
            for shard in range(SHARDS):
                fenced = service.wait_for_log("task_fenced", shard=shard)
                lines = service.lines.index(fenced)
                service.wait_for_log("transaction_committed", shard=shard, after=lines)
            stream.wait_for_more(50)
        assert_exactly_once(cluster, names, stream.ids)
        assert len(service.logged("task_fenced")) == SHARDS


def test_a_transaction_too_large_for_its_time_is_made_smaller(
    cluster: Cluster, names: Names
) -> None:
    """What cannot be sent within its bound is tried again in parts, until the parts go through."""
    ids = ids_at_home(0, SHARDS, 2000)
    with Deployment(cluster, names, TRANSACTION_TIMEOUT_MS=2000) as deployment:
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(o), b"k", 0) for o in ids])
        # A second is half the timeout; an id takes two records, so 500 ids go through, not more.
        service = deployment.start(command=slow(1000))
        assert_exactly_once(cluster, names, ids)
        limits = [line["records_from_now"] for line in service.logged("transaction_too_slow")]
        assert limits[:2] == [1000, 500]
        assert len(service.logged("task_failed", shard=0)) == len(limits)


def member_ids(cluster: Cluster, group: str) -> list[str]:
    """Return the ids that the group knows its members by."""
    described = cluster.admin.describe_consumer_groups([group])[group].result(REQUEST_SECONDS)
    return [member.member_id for member in described.members]


def expel(cluster: Cluster, group: str, member_id: str) -> None:
    """Tell the group that a member has left, which does not know of it."""

    async def leave() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
        try:
            await admin.start()
            coordinator = await admin.find_coordinator(group)
            await admin._send_request(LeaveGroupRequest(group, member_id), coordinator)  # noqa: SLF001 - no public way
        finally:
            await admin.close()

    asyncio.run(leave())


def is_fenced_soon(service: ServiceProcess, after: int) -> bool:
    """Tell whether a task of the process is fenced within a few heartbeats."""
    try:
        service.wait_for_log("task_fenced", FENCED_SECONDS, after=after)
    except AssertionError:
        return False
    return True


def test_a_fenced_shard_stays_with_the_other_process(cluster: Cluster, names: Names) -> None:
    """Fenced for whom the group wants now, a process does not take the shard back before it knows.

    Its heartbeats are slow, so it learns late that the group has expelled it.
    """
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic, pause_ms=4) as stream:
            former = deployment.start(HEARTBEAT_INTERVAL_MS=2500)
            deployment.wait_until_running(SHARDS, former)
            (member_id,) = member_ids(cluster, deployment.group)
            heir = deployment.start(HEARTBEAT_INTERVAL_MS=50)
            deployment.wait_until_running(SHARDS, former, heir)
            (heir_id,) = set(member_ids(cluster, deployment.group)) - {member_id}
            for _ in range(TRIES):
                stream.wait_for_more(50)
                (member_id,) = set(member_ids(cluster, deployment.group)) - {heir_id}
                lines, heirs_lines = len(former.lines), len(heir.lines)
                expel(cluster, deployment.group, member_id)
                if is_fenced_soon(former, after=lines):
                    break
                # A heartbeat at that very moment told it at once; it is back with the same shards.
                deployment.wait_until_running(SHARDS, former, heir)
            assert former.logged("task_fenced", after=lines)
            deployment.wait_until_running(SHARDS, former, heir)
            stream.wait_for_more(50)
        kept = heir.running_shards()
        assert kept
        for shard in kept:
            # What the group gives back to the former may be taken before the heir has let go.
            assert not heir.logged("task_fenced", after=heirs_lines, shard=shard)
            # Fenced or, told in time, let go: it has not begun anew.
            assert not former.logged("task_state", after=lines, shard=shard, state="fencing")
        assert_exactly_once(cluster, names, stream.ids)
