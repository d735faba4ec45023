"""The port's promises, kept by the real client on a broker and by the in-memory Kafka alike.

Each test runs against both. So a fast test that uses the in-memory Kafka proves something about the
real one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from consumer.config import PREFIX, Settings
from consumer.errors import Fenced, TaskFailed, TransientError
from consumer.kafka.client import AioKafka
from consumer.kafka.types import OpenTransaction, TopicPartition
from consumer.pipeline.records import PackedBatch
from tests.support.fake_kafka import FakeKafka
from tests.support.waiting import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from consumer.kafka.port import ClusterAdmin, Kafka, LogReader, TransactionalWriter
    from consumer.pipeline.records import Header, SourceRecord
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

MAX_MESSAGE_BYTES = 1_048_588
TIMEOUT_MS = 60_000
FETCH_MS = 100
DEADLINE_SECONDS = 20.0
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
HOUR_MS = 3_600_000


class Values(NamedTuple):
    """What a reader delivered of one partition, and where it stopped."""

    values: list[bytes]
    position: int


class Port:
    """One implementation with a topic of three partitions, and the verbs of these tests."""

    def __init__(self, kafka: Kafka, settings: Settings, topic: str) -> None:
        """Use this implementation."""
        self.kafka = kafka
        self.settings = settings
        self.topic = topic
        self.admin: ClusterAdmin = kafka.admin("conformance")
        self.partitions = [TopicPartition(topic, number) for number in range(3)]

    @asynccontextmanager
    async def writer(self, name: str = "writer") -> AsyncIterator[TransactionalWriter]:
        """Return a writer that owns its transactional id."""
        writer = self.kafka.writer(f"{self.topic}-{name}", TIMEOUT_MS)
        try:
            await writer.fence()
            yield writer
        finally:
            await writer.close()

    @asynccontextmanager
    async def reader(self, *, committed_only: bool = True) -> AsyncIterator[LogReader]:
        """Return a reader that is connected."""
        reader = self.kafka.reader(
            "conformance",
            topics=[self.topic],
            max_message_bytes=MAX_MESSAGE_BYTES,
            committed_only=committed_only,
        )
        try:
            await reader.start()
            yield reader
        finally:
            await reader.close()

    async def send(
        self, writer: TransactionalWriter, values: Mapping[int, Sequence[bytes]]
    ) -> dict[TopicPartition, int]:
        """Send values by partition in one transaction, and leave it open."""
        batches = writer.new_batches({self.topic: MAX_MESSAGE_BYTES})
        for partition, some in values.items():
            for value in some:
                batches.to(self.topic, partition).append(None, value)
        return await writer.send(batches)

    async def commit(
        self, writer: TransactionalWriter, values: Mapping[int, Sequence[bytes]]
    ) -> dict[TopicPartition, int]:
        """Send values by partition in one transaction and commit it.

        A broker answers the commit before its markers are written, so they are awaited.
        """
        offsets = await self.send(writer, values)
        await writer.commit()

        async def has_ended() -> bool:
            found = (await self.admin.open_transactions([self.topic])).found
            return all(it.producer_id != writer.producer_id_and_epoch[0] for it in found)

        await poll(has_ended, what="the markers")
        return offsets

    async def read(
        self, until: int, *, partition: int = 0, start: int = 0, committed_only: bool = True
    ) -> Values:
        """Read a partition until the position is at least `until`."""
        async with self.reader(committed_only=committed_only) as reader:
            return await self.drain(reader, until, partition=partition, start=start)

    async def drain(
        self, reader: LogReader, until: int, *, partition: int = 0, start: int = 0
    ) -> Values:
        """Do the same with a reader of the caller."""
        place = self.partitions[partition]
        reader.assign({place: start})
        records = await read_until(reader, place, until)
        return Values([it.value or b"" for it in records], reader.position(place))


async def poll(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not come in time"
        await asyncio.sleep(POLL_SECONDS)


async def read_until(reader: LogReader, place: TopicPartition, until: int) -> list[SourceRecord]:
    """Fetch until the position of a partition is at least `until`."""
    records: list[SourceRecord] = []

    async def has_come() -> bool:
        for fetched in (await reader.fetch(FETCH_MS, 1000)).values():
            records.extend(fetched)
        return reader.position(place) >= until

    await poll(has_come, what=f"offset {until} of {place}")
    return records


@pytest.fixture(params=["fake", "real"])
async def port(request: pytest.FixtureRequest, names: Names) -> AsyncIterator[Port]:
    """Each implementation in turn, with a topic of three partitions."""
    environment = {f"{PREFIX}GROUP_ID": names.group()}
    kafka: Kafka
    if request.param == "real":
        cluster: Cluster = request.getfixturevalue("cluster")
        environment[f"{PREFIX}BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
        settings = Settings.load(environment)
        kafka = AioKafka.of(settings)
    else:
        settings = Settings.load(environment)
        kafka = FakeKafka()
    made = Port(kafka, settings, names.topic())
    await made.admin.start()
    await create(made, made.topic, 3)
    yield made
    await made.admin.close()


async def create(
    port: Port, topic: str, partitions: int, configs: Mapping[str, str] | None = None
) -> None:
    """Create a topic and wait until it can be written."""
    assert await port.admin.create(topic, partitions, 1, configs or {})

    async def is_known() -> bool:
        if await port.admin.unknown_somewhere([topic]):
            return False
        try:
            await port.admin.open_transactions([topic])
        except TransientError:  # a leader does not know yet that it is one
            return False
        return True

    await poll(is_known, what=f"topic {topic}")


# Visibility of transactions.


async def test_committed_records_are_visible_in_order(port: Port) -> None:
    """A transaction's records come in the order in which they were added."""
    async with port.writer() as writer:
        offsets = await port.commit(writer, {0: [b"a", b"b"]})
        assert offsets == {port.partitions[0]: 0}
        assert (writer.begun_transactions, writer.committed_transactions) == (1, 1)
    assert await port.read(3) == Values([b"a", b"b"], 3)


async def test_pairs_are_added_in_order(port: Port) -> None:
    """After the records that were added before, with their keys, and without headers."""
    async with port.writer() as writer:
        batches = writer.new_batches({port.topic: MAX_MESSAGE_BYTES})
        target = batches.to(port.topic, 0)
        target.append(b"k", b"first", [("name", b"content")])
        target.append_pairs(iter([(b"a", b"1"), (None, b"2"), (b"a", None)]))
        await writer.send(batches)
        await writer.commit()
    async with port.reader() as reader:
        reader.assign({port.partitions[0]: 0})
        records = await read_until(reader, port.partitions[0], 5)
    assert [(it.key, it.value, list(it.headers)) for it in records] == [
        (b"k", b"first", [("name", b"content")]),
        (b"a", b"1", []),
        (None, b"2", []),
        (b"a", None, []),
    ]


async def test_a_marker_takes_an_offset_and_counts_as_delivered(port: Port) -> None:
    """The next transaction begins after the marker; a position moves over it."""
    async with port.writer() as writer:
        await port.commit(writer, {0: [b"a"]})
        assert await port.commit(writer, {0: [b"b"]}) == {port.partitions[0]: 2}
    assert await port.read(4) == Values([b"a", b"b"], 4)
    assert await port.read(4, start=1) == Values([b"b"], 4)


async def test_open_transactions_hold_committed_readers_back(port: Port) -> None:
    """Nothing after the first open record is delivered, though others are committed there."""
    async with port.writer("open") as other, port.writer() as writer:
        await port.commit(writer, {0: [b"before"]})
        await port.send(other, {0: [b"open"]})
        await port.commit(writer, {0: [b"after"]})
        assert await port.read(2) == Values([b"before"], 2)
        everything = await port.read(5, committed_only=False)
        assert everything == Values([b"before", b"open", b"after"], 5)
        await other.commit()
        assert await port.read(6) == Values([b"before", b"open", b"after"], 6)


async def test_aborted_records_are_invisible_to_committed_readers(port: Port) -> None:
    """The fence of the next owner aborts the transaction; its marker takes an offset."""
    async with port.writer() as first:
        await port.send(first, {0: [b"aborted"]})
        async with port.writer() as second:
            await port.commit(second, {0: [b"committed"]})
            assert await port.read(4) == Values([b"committed"], 4)
            everything = await port.read(4, committed_only=False)
            assert everything == Values([b"aborted", b"committed"], 4)


async def test_a_tail_of_aborted_records_moves_the_position(port: Port) -> None:
    """A read is complete when the position is at the end, not when the last record came."""
    async with port.writer() as writer:
        await port.commit(writer, {0: [b"a"]})
        await port.send(writer, {0: [b"aborted"]})
        async with port.writer():
            assert await port.read(4) == Values([b"a"], 4)


async def test_a_transaction_is_visible_in_all_partitions_or_in_none(port: Port) -> None:
    """One marker in each partition decides."""
    values = {0: [b"zero"], 1: [b"one"], 2: [b"two"]}
    async with port.writer() as first:
        assert await port.send(first, values) == dict.fromkeys(port.partitions, 0)
        async with port.writer() as second:
            for number in range(3):
                assert await port.read(2, partition=number) == Values([], 2)
            assert await port.commit(second, values) == dict.fromkeys(port.partitions, 2)
            for number, some in values.items():
                assert await port.read(4, partition=number) == Values(some, 4)


async def test_commit_in_writes_a_marker_without_records(port: Port) -> None:
    """The marker takes an offset in the named partitions only."""
    async with port.writer() as writer:
        await writer.commit_in(port.partitions[:2])
        async with port.reader(committed_only=False) as reader:

            async def are_written() -> bool:
                ends = await reader.end_offsets(port.partitions)
                return [ends[place] for place in port.partitions] == [1, 1, 0]

            await poll(are_written, what="the markers")


# Fencing.


async def test_the_next_owner_has_the_same_id_and_a_higher_epoch(port: Port) -> None:
    """InitProducerId keeps the producer id of a transactional id."""
    async with port.writer() as first, port.writer() as second:
        first_id, first_epoch = first.producer_id_and_epoch
        second_id, second_epoch = second.producer_id_and_epoch
        assert first_id == second_id
        assert first_epoch < second_epoch


async def test_a_fenced_writer_cannot_commit(port: Port) -> None:
    """What it had sent was aborted by the fence, and stays aborted."""
    async with port.writer() as zombie:
        await port.send(zombie, {0: [b"zombie"]})
        async with port.writer() as owner:
            with pytest.raises(Fenced):
                await zombie.commit()
            await port.commit(owner, {0: [b"owner"]})
    assert await port.read(4) == Values([b"owner"], 4)


async def test_a_fenced_writer_cannot_send(port: Port) -> None:
    """Nothing of it reaches the log as a visible record."""
    async with port.writer() as zombie:
        await port.commit(zombie, {0: [b"before"]})
        async with port.writer() as owner:
            with pytest.raises(Fenced):
                await port.send(zombie, {0: [b"zombie"]})
            offsets = await port.commit(owner, {0: [b"owner"]})
    end = offsets[port.partitions[0]] + 2
    assert await port.read(end) == Values([b"before", b"owner"], end)


async def test_other_transactional_ids_are_not_fenced(port: Port) -> None:
    """A fence concerns one transactional id."""
    async with port.writer("one") as one, port.writer("two") as two:
        await port.send(one, {0: [b"one"]})
        await port.commit(two, {1: [b"two"]})
        await one.commit()
    assert await port.read(2) == Values([b"one"], 2)


# Offsets, positions and lag.


async def test_stable_offsets_ends_lag_and_backlog(port: Port) -> None:
    """An open transaction separates the last stable offset from the high watermark."""
    place = port.partitions[0]
    async with port.writer("open") as other, port.writer() as writer, port.reader() as reader:
        await port.commit(writer, {0: [b"a"]})
        await port.send(other, {0: [b"b", b"c"]})
        assert await reader.end_offsets([place]) == {place: 2}
        async with port.reader(committed_only=False) as uncommitted:
            assert await uncommitted.end_offsets([place]) == {place: 4}
        reader.assign({place: 0})
        assert reader.lag(place) is None
        assert reader.backlog(place) is None
        assert reader.stable_offset_and_end(place) is None
        before = time.monotonic()
        await read_until(reader, place, 2)
        assert (reader.lag(place), reader.backlog(place)) == (0, 2)
        assert reader.stable_offset_and_end(place) == (2, 4)
        seen_at = reader.seen_at(place)
        assert seen_at is not None
        assert before - 1 < seen_at <= time.monotonic()
        await other.commit()
        await read_until(reader, place, 5)
        assert (reader.lag(place), reader.backlog(place)) == (0, 0)


async def test_positions_are_those_of_the_assigned_partitions(port: Port) -> None:
    """An assignment replaces the one before; a fetch brings the records of its partitions."""
    async with port.writer() as writer, port.reader() as reader:
        await port.commit(writer, {0: [b"a", b"b"], 1: [b"c"]})
        reader.assign({port.partitions[0]: 1, port.partitions[1]: 0})
        assert reader.positions == {port.partitions[0]: 1, port.partitions[1]: 0}
        reader.assign({port.partitions[0]: 1})
        assert reader.positions == {port.partitions[0]: 1}
        (record,) = await read_until(reader, port.partitions[0], 3)
        assert (record.offset, record.value, record.key) == (1, b"b", None)


async def test_a_paused_partition_delivers_nothing_more(port: Port) -> None:
    """The others go on, and the position of the paused one stays."""
    first, second = port.partitions[:2]
    async with port.writer() as writer, port.reader() as reader:
        await port.commit(writer, {0: [b"a"], 1: [b"b"]})
        reader.assign({first: 0, second: 0})
        reader.pause([first])
        await read_until(reader, second, 2)
        assert reader.position(first) == 0


async def test_a_fetch_brings_at_most_the_records_asked_for(port: Port) -> None:
    """The rest comes with the next fetch, and the position is between them."""
    place = port.partitions[0]
    async with port.writer() as writer, port.reader() as reader:
        await port.commit(writer, {0: [b"a", b"b", b"c"]})
        reader.assign({place: 0})
        found: list[bytes] = []

        async def has_come() -> bool:
            for records in (await reader.fetch(FETCH_MS, 1)).values():
                assert len(records) == 1
                found.extend(it.value or b"" for it in records)
                if len(found) < 3:
                    assert reader.position(place) == len(found)
            return reader.position(place) == 4

        await poll(has_come, what="all records")
    assert found == [b"a", b"b", b"c"]


async def test_the_start_of_a_batch_is_known_within_it(port: Port) -> None:
    """Two of the three records of a second batch give the start of that batch."""
    place = port.partitions[0]
    async with port.writer() as writer, port.reader() as reader:
        await port.commit(writer, {0: [b"a", b"b"]})
        await port.commit(writer, {0: [b"c", b"d", b"e"]})
        reader.assign({place: 0})
        starts = {}

        async def is_delivered() -> bool:
            for records in (await reader.fetch(FETCH_MS, 1)).values():
                starts[records[-1].value] = records.batch_start
            return len(starts) == 5

        await poll(is_delivered, what="five records")
        assert starts == {b"a": 0, b"b": 0, b"c": 3, b"d": 3, b"e": 3}


async def test_a_position_outside_of_the_log_fails_the_fetch(port: Port) -> None:
    """A reader never resets a position by itself."""
    place = port.partitions[0]
    async with port.reader() as reader:
        reader.assign({place: 100})

        async def fails() -> bool:
            try:
                await reader.fetch(FETCH_MS, 10)
            except TaskFailed:
                return True
            return False

        await poll(fails, what="a refused fetch")
        assert reader.needs_revalidation


async def test_deleted_records_move_the_log_start(port: Port) -> None:
    """Earlier positions are refused; later records keep their offsets."""
    place = port.partitions[0]
    async with port.writer() as writer, port.reader() as reader:
        await port.commit(writer, {0: [b"a", b"b", b"c"]})
        assert await reader.beginning_offsets([place]) == {place: 0}
        await port.admin.delete_records({place: 2})
        assert await reader.beginning_offsets([place]) == {place: 2}
        assert await reader.end_offsets([place]) == {place: 4}
        assert await port.drain(reader, 4, start=2) == Values([b"c"], 4)


async def test_a_setting_is_asked_for_and_not_changed(port: Port) -> None:
    """The dry run of an allowed setting has no refusal, and no effect."""
    before = (await port.admin.describe([port.topic]))[port.topic].configs
    assert await port.admin.setting_refusal(port.topic, "retention.ms", "12345678") is None
    assert (await port.admin.describe([port.topic]))[port.topic].configs == before


# Times.


async def test_brokers_stamp_topics_with_log_append_time(port: Port) -> None:
    """The writer learns the brokers' clock; a topic's records are found by their time."""
    topic = f"{port.topic}.stamped"
    await create(port, topic, 1, APPEND_TIME)
    place = TopicPartition(topic, 0)
    begun_ms = time.time_ns() // 1_000_000
    async with port.writer() as writer, port.reader() as reader:
        await reader.follow([topic])
        for value in (b"a", b"b"):
            batches = writer.new_batches({topic: MAX_MESSAGE_BYTES})
            batches.to(topic, 0).append(b"key", value)
            await writer.send(batches)
            await writer.commit()
            await asyncio.sleep(0.01)  # the next record has another timestamp
        reader.assign({place: 0})
        first, second = await read_until(reader, place, 4)
        assert begun_ms - 1000 < first.timestamp < second.timestamp
        assert abs(writer.broker_clock.now_ms() - second.timestamp) < 10_000
        found = await reader.offsets_for_times({place: first.timestamp})
        assert found == {place: (0, first.timestamp)}
        found = await reader.offsets_for_times({place: second.timestamp})
        assert found == {place: (2, second.timestamp)}
        assert await reader.offsets_for_times({place: second.timestamp + HOUR_MS}) == {place: None}


async def test_records_of_unstamped_topics_have_no_timestamp(port: Port) -> None:
    """A record of another topic has the time at which the writer made it."""
    async with port.writer() as writer, port.reader() as reader:
        for unstamped in ((), (port.topic,)):
            batches = writer.new_batches({port.topic: MAX_MESSAGE_BYTES}, unstamped)
            batches.to(port.topic, 0).append(b"key", None)
            await writer.send(batches)
            await writer.commit()
        reader.assign({port.partitions[0]: 0})
        stamped, plain = await read_until(reader, port.partitions[0], 4)
    assert stamped.timestamp > 0
    assert plain.timestamp == -1
    assert (plain.key, plain.value) == (b"key", None)


async def test_headers_come_as_they_were_written(port: Port) -> None:
    """Names repeat, values may be null or empty, and their order stays."""
    headers: list[Header] = [("a", b"1"), ("a", None), ("b", b"")]
    async with port.writer() as writer, port.reader() as reader:
        batches = writer.new_batches({port.topic: MAX_MESSAGE_BYTES})
        batches.to(port.topic, 0).append(None, b"value", headers)
        await writer.send(batches)
        await writer.commit()
        reader.assign({port.partitions[0]: 0})
        (record,) = await read_until(reader, port.partitions[0], 2)
    assert list(record.headers) == headers
    assert not isinstance(record.value, PackedBatch)


# Topics, groups, transactions as the admin client sees them.


async def test_topics_are_created_once_and_described(port: Port) -> None:
    """A description has the settings, an id of the topic's own, and a leader epoch each."""
    other = f"{port.topic}.other"
    await create(port, other, 2, {"cleanup.policy": "compact", "max.message.bytes": "262144"})
    assert not await port.admin.create(other, 2, 1, {})
    found = await port.admin.describe([port.topic, other, f"{port.topic}.missing"])
    assert found.keys() == {port.topic, other}
    assert (found[port.topic].partitions, found[other].partitions) == (3, 2)
    assert found[other].replication == 1
    assert found[other].configs["cleanup.policy"] == "compact"
    assert found[other].max_message_bytes == 262_144
    assert found[port.topic].configs["message.timestamp.type"] == "CreateTime"
    assert found[port.topic].configs["unclean.leader.election.enable"] == "false"
    assert found[port.topic].topic_id is not None
    assert found[port.topic].topic_id != found[other].topic_id
    assert found[port.topic].leader_epochs.keys() == {0, 1, 2}
    assert await port.admin.unknown_somewhere([other, "missing"]) == {"missing"}


async def test_the_cluster_has_an_id_and_a_broker(port: Port) -> None:
    """Both do not change."""
    cluster_id, brokers = await port.admin.cluster()
    assert cluster_id
    assert brokers == 1
    assert await port.admin.cluster() == (cluster_id, brokers)


async def test_open_transactions_are_reported_until_they_end(port: Port) -> None:
    """Each partition reports the start offset and the producer."""
    place = port.partitions[1]
    async with port.writer() as writer:
        await port.commit(writer, {1: [b"a"]})
        assert (await port.admin.open_transactions([port.topic])).found == ()
        await port.send(writer, {1: [b"b"]})
        expected = OpenTransaction(place, 2, *writer.producer_id_and_epoch)
        answer = await port.admin.open_transactions([], optional=[port.topic])
        assert answer.found == (expected,)
        assert not answer.not_queried
        async with port.writer():
            assert (await port.admin.open_transactions([port.topic])).found == ()


async def test_the_latest_leader_epoch_ends_at_the_end_of_the_log(port: Port) -> None:
    """A leader leaves out an epoch that it does not know."""
    place = port.partitions[0]
    async with port.writer() as writer:
        await port.commit(writer, {0: [b"a", b"b"]})
    epoch = (await port.admin.describe([port.topic]))[port.topic].leader_epochs[0]
    assert await port.admin.epoch_ends({place: epoch}) == {place: 3}
    assert await port.admin.epoch_ends({place: epoch + 10}) == {}


async def test_a_member_commits_group_offsets(port: Port) -> None:
    """They are read back by the admin client; a group that never committed has none."""
    await create(port, port.settings.repartition_topic, 3)

    async def has_no_offsets() -> bool:
        try:
            return await port.admin.group_offsets(port.settings.group_id) == {}
        except TaskFailed:  # the first group of a broker: its coordinator is not available yet
            return False

    await poll(has_no_offsets, what="an answer of the coordinator")
    changes: list[None] = []
    member = port.kafka.member(port.settings, lambda: changes.append(None), lambda _: None)
    if isinstance(port.kafka, FakeKafka):
        port.kafka.members[-1].decide({0, 1, 2})
    await member.join()
    try:

        async def is_decided() -> bool:
            await member.poll()
            return member.wanted == frozenset({0, 1, 2})

        await poll(is_decided, what="an assignment")
        assert member.rebalances == len(changes) == 1
        offsets = {port.partitions[0]: 7, port.partitions[1]: 0}
        await member.commit_offsets(offsets)
        assert await port.admin.group_offsets(port.settings.group_id) == offsets
    finally:
        await member.leave()
