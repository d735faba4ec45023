"""The private parts of aiokafka that the service uses, each with its reason. Pinned to 0.14.0.

Private are names with a leading underscore, and modules that aiokafka does not document. Only this
module, ``private_client`` and ``private_connection`` use them.
``tests/unit/kafka/test_private_api.py`` checks this, and fails when a release of aiokafka changes
the name or the meaning of a part.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema
from aiokafka.record.default_records import (
    DefaultRecordBatch,
    DefaultRecordBatchBuilder,
    _DefaultRecordBatchBuilderPy,
)
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import OffsetAndMetadata

from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Header, SourceRecord

UNBOUNDED_RECORDS: Final = 2**31


# Connections. ``private_client`` and ``private_connection`` have the classes of both.


def consumer_client(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """Return the client, to refresh its metadata, or to close it if ``consumer.stop`` did not."""
    return consumer._client


def admin_client(admin: AIOKafkaAdminClient) -> AIOKafkaClient:
    """Return the client, to send a request to one broker and to see the known brokers."""
    return admin._client


async def reach_controller(admin: AIOKafkaAdminClient) -> None:
    """See ``ClusterClient.reach_controller``. The client creates and deletes topics there."""
    await admin._client.reach_controller()


async def send_admin_request(
    admin: AIOKafkaAdminClient,
    request: Any,  # noqa: ANN401 - the library is untyped
    node_id: int | None = None,
) -> Any:  # noqa: ANN401 - the same
    """Send a request that the admin client has no method for, by default to any broker."""
    if node_id is None:
        return await admin._client.ask_any(request)
    return await admin._send_request(request, node_id)


# Batches that are written.


class RecordsBuilder(Protocol):
    """Holds the records of one transactional batch, and builds the bytes of the batch."""

    record_count: int

    def set_producer_state(self, producer_id: int, epoch: int, base_sequence: int, /) -> None:
        """Set the producer's id and epoch, and the sequence number of the first record."""

    def build(self) -> bytes | bytearray:
        """Return the batch; call it only once."""

    def size(self) -> int:
        """Return the size in bytes."""


class LibraryRecordsBuilder:
    """Builds a transactional batch with a builder of the library."""

    def __init__(self, batch_bytes: int, *, raw_header_names: bool = False) -> None:
        """Start an empty batch.

        The compiled builder takes header names that are plain strings only. With
        `raw_header_names` the slower Python builder is used. It calls ``encode`` of a name, so a
        ``RawHeaderName`` keeps its bytes.
        """
        builder = _DefaultRecordBatchBuilderPy if raw_header_names else DefaultRecordBatchBuilder
        self._builder = builder(2, 0, 1, -1, -1, 0, batch_bytes)
        self.set_producer_state = self._builder.set_producer_state
        self.build = self._builder.build
        self.size = self._builder.size
        self.record_count = 0

    def append(
        self, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: Sequence[Header]
    ) -> bool:
        """Add a record; return False if the batch is full.

        Raises:
            TypeError: a header name is not a plain string.
        """
        as_list = headers if isinstance(headers, list) else list(headers)
        added = self._builder.append(self.record_count, timestamp_ms, key, value, as_list)
        self.record_count += added is not None
        return added is not None


class Batch(BatchBuilder):
    """A batch that is sent with ``send_batch``, with a builder of the service's choice."""

    def __init__(self, builder: RecordsBuilder) -> None:
        # The library's own constructor would make its own builder.
        self._builder = builder
        self._record_count = builder.record_count
        self._buffer = None
        self._closed = True

    def record_count(self) -> int:
        """Return the number of records, from which the library computes sequence numbers."""
        return self._record_count

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        # The library's own method asserts that the builder is the library's.
        self._builder.set_producer_state(producer_id, epoch, base_sequence)


class OpenBatch(BatchBuilder):
    """A batch that takes more records until the library begins to send it.

    The library counts the records for the sequence numbers and then sets the producer's state, in
    one step. It builds the bytes later. A record that was added in between would break the numbers.
    """

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        self.close()
        super()._set_producer_state(producer_id, epoch, base_sequence)


def open_batch(producer: AIOKafkaProducer) -> OpenBatch:
    """Return an empty batch with the batch size and the compression of the producer."""
    accumulator = producer._message_accumulator
    return OpenBatch(accumulator._batch_size, accumulator._compression_type)


# Produce requests. The library copies each byte of a batch eight times on its way to the transport.


class UnjoinedRequest:
    """An encoded request in parts, which the connection joins with its header and size.

    ``AIOKafkaConnection.send`` computes ``message = header + request`` and then ``size + message``.
    """

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __radd__(self, header: bytes) -> "UnjoinedMessage":
        return UnjoinedMessage([header, *self.parts])


class UnjoinedMessage:
    """A request with its header, in parts."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __radd__(self, size: bytes) -> memoryview:
        # If the socket does not take everything, the transport slices the rest. A slice of a
        # memoryview is not a copy.
        return memoryview(b"".join((size, *self.parts)))


def encode_in_parts(request: RequestStruct) -> UnjoinedRequest:
    """Encode a request as the library does, but without a copy of the batches."""
    values = [request.get_item(name) for name in request.SCHEMA.names]
    return UnjoinedRequest(list(encoded_parts(request.SCHEMA, values)))


def encoded_parts(kind: Any, value: Any) -> Iterator[bytes]:  # noqa: ANN401 - any type of a field
    """Yield the parts of an encoded value. What holds no batch is encoded by the library."""
    if type(kind) is Schema and len(value) == len(kind):
        for field, item in zip(kind.fields, value, strict=True):
            yield from encoded_parts(field, item)
    elif type(kind) is Array and value is not None:
        yield Int32.encode(len(value))
        for item in value:
            yield from encoded_parts(kind.array_of, item)
    elif kind is Bytes and value is not None:
        yield Int32.encode(len(value))
        yield value
    else:
        yield kind.encode(value)


def send_batches_with_one_copy() -> None:
    """Let every producer of this process copy a batch once, where it is joined into a message.

    A transaction sends megabytes, so the library's eight copies are several percent of the CPU
    time. The bytes of a request stay the same.
    """
    for version in ProduceRequest._CLASSES:
        version.encode = encode_in_parts


# The producer.


def set_concurrent_transactions_backoff(seconds: float) -> None:
    """Set the pause before a retry after CONCURRENT_TRANSACTIONS, for all producers.

    Right after a commit the coordinator returns this error until it has written the markers. That
    takes about 2 ms on an idle broker. With the library's pause of 20 ms, a transaction would take
    three times as long.
    """
    sender.BACKOFF_OVERRIDE = seconds


def producer_id_and_epoch(producer: AIOKafkaProducer) -> tuple[int, int]:
    """Return the result of InitProducerId.

    A transactional id keeps its producer id, and each owner gets a new epoch.
    """
    manager = producer._txn_manager
    return int(manager.producer_id), int(manager.producer_epoch)


def add_to_transaction(producer: AIOKafkaProducer, partitions: Iterable[TopicPartition]) -> None:
    """Register partitions in the open transaction without a record (AddPartitionsToTxn).

    The library itself registers a partition only when a record is sent to it.
    """
    for partition in partitions:
        producer._txn_manager.maybe_add_partition_to_txn(partition)


def transaction_end(producer: AIOKafkaProducer) -> asyncio.Future[None]:
    """Return the future that completes when the transaction ends, with its first error if any."""
    ended: asyncio.Future[None] = producer._txn_manager.wait_for_transaction_end()
    return ended


def abandon_producer(producer: AIOKafkaProducer) -> asyncio.Task[None] | None:
    """Mark the producer as closed; return its sender task, which the caller must cancel.

    ``stop()`` would wait for a broker that may be gone. A producer that is not marked warns when it
    is garbage collected.
    """
    producer._closed = True
    task: asyncio.Task[None] | None = producer._sender.sender_task
    return task


# The consumer.


def watch_fetches(
    consumer: AIOKafkaConsumer, on_fetch: Callable[[TopicPartition, float, bool], None]
) -> None:
    """Call ``on_fetch`` for each partition in each fetch response.

    Its arguments are the partition, the time at which the fetch was sent (monotonic seconds), and
    whether the source may have changed. That is true if the broker refused this fetch, or did not
    answer the fetch before this one. In both cases the library retries without a report. But the
    topic may have been recreated meanwhile, or a broker may have restarted without its last
    records.
    """
    send = consumer._client.send
    unanswered: set[TopicPartition] = set()

    async def watched(node_id: int, request: Any, **more: Any) -> Any:  # noqa: ANN401 - the library is untyped
        sent_at = time.monotonic()
        try:
            response = await send(node_id, request, **more)
        except KafkaError:
            if isinstance(request, FetchRequest):
                for topic, partitions in request.topics:
                    unanswered.update(TopicPartition(topic, number) for number, *_ in partitions)
            raise
        if isinstance(request, FetchRequest):
            for topic, partitions in response.topics:
                for partition, error_code, *_ in partitions:
                    source = TopicPartition(topic, partition)
                    on_fetch(source, sent_at, error_code != 0 or source in unanswered)
                    unanswered.discard(source)
        return response

    consumer._client.send = watched


def set_fetch_wait(consumer: AIOKafkaConsumer, milliseconds: int) -> None:
    """Change how long a fetch may wait at the broker for new records (``fetch.max.wait.ms``).

    A broker answers the requests of a connection one by one, so a request waits for the fetch
    before it. At a shard's start, which makes many requests, long fetch waits would add up.
    """
    consumer._fetcher._fetch_max_wait_ms = milliseconds


def set_partition_fetch_bytes(consumer: AIOKafkaConsumer, size_bytes: int) -> None:
    """Change how much of a partition is fetched at once (``max.partition.fetch.bytes``)."""
    consumer._fetcher._max_partition_fetch_bytes = size_bytes


def position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Return the position without the await of ``consumer.position``, which can wait 10 s."""
    state = consumer._subscription.subscription.assignment.state_value(partition)
    return int(state.position)


def track_topics(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> None:
    """Keep these topics in the client's metadata; ``assign`` removes topics that it does not name.

    A ListOffsets for a removed topic fails, and is retried until the topic's metadata is known.
    """
    consumer._client._topics.update(topics)


# The member of the group.


def member_id(consumer: AIOKafkaConsumer) -> str:
    """Return the member id that the group coordinator assigned."""
    return str(consumer._coordinator.member_id)


def has_membership_ended(consumer: AIOKafkaConsumer) -> bool:
    """Return whether an error ended the library's group coordination.

    The library never restarts the coordination, so the consumer stays outside the group forever.
    """
    coordinator = consumer._coordinator
    return coordinator is not None and coordinator._coordination_task.done()


def leave_on_stop(consumer: AIOKafkaConsumer) -> None:
    """Let ``stop()`` send LeaveGroup also for a static member.

    The library sends no LeaveGroup for a static member. The member's shards would then stay
    unassigned for a session timeout after each orderly shutdown.
    """
    if consumer._coordinator is not None:
        consumer._coordinator._group_instance_id = None


async def commit_group_offsets(
    consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]
) -> None:
    """Commit offsets of partitions that the group does not assign; ``commit`` refuses such offsets.

    Do nothing while the consumer is not a member of the group.
    """
    coordinator = consumer._coordinator
    if coordinator is None or coordinator.coordinator_id is None or coordinator.generation <= 0:
        return
    await coordinator._do_commit_offsets(
        None, {partition: OffsetAndMetadata(offset, "") for partition, offset in offsets.items()}
    )


# Batches that are fetched. The library's batch reader fails on some batches that brokers accept.
# It also has no limit in bytes. ``consumer.kafka.client.fetched`` replaces it.


def compiled_records(raw: bytes) -> Iterable[Any]:
    """Return the records of an uncompressed batch, which the library's compiled classes read."""
    records: Iterable[Any] = DefaultRecordBatch(raw)
    return records


def crc32c(content: bytes, position: int) -> int:
    """Return the checksum of a batch from a position on; the library's function is compiled."""
    return int(calc_crc32c(content[position:]))


class FetchedPartitionBase(fetcher.PartitionRecords):
    """The fetched batches of one partition, with public names for the library's private parts."""

    next_fetch_offset: int

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*arguments)
        # The library's iterator refers to this object. Such a cycle would keep all fetched bytes
        # until the garbage collector runs.
        self._records_iterator = None
        self.partition: TopicPartition = self._tp
        self.batches: Any = self._records
        """An object of the class that ``replace_fetch_classes`` put in place of MemoryRecords."""
        self.must_check_crcs: bool = self._check_crcs
        self.is_read_committed: bool = self._isolation_level == fetcher.READ_COMMITTED

    def take(self, most_records: int) -> Sequence[SourceRecord]:
        """Return the next records."""
        raise NotImplementedError

    @property
    def is_used_up(self) -> bool:
        """Whether every record was taken."""
        raise NotImplementedError

    def begin_aborted_until(self, offset: int) -> None:
        """Note the producers whose aborted transactions begin at or before this offset."""
        self._consume_aborted_up_to(offset)

    def end_aborted(self, producer_id: int) -> None:
        """Forget a producer that was noted, because its aborted transaction ends here."""
        self._aborted_producers.discard(producer_id)

    def is_aborted(self, producer_id: int) -> bool:
        """Return whether the current transaction of this producer was aborted."""
        return producer_id in self._aborted_producers


class BoundedFetchResult(fetcher.FetchResult):
    """The fetched records of one partition, which ``getmany`` takes in parts."""

    _partition_records: FetchedPartitionBase | None

    def getall(self, max_records: int | None = None) -> Sequence[SourceRecord]:
        """Return the next records and move the position; the rest stays for the next call.

        The library's own method has no limit in bytes: it takes all fetched records, or
        `max_records` of them, however large they are.
        """
        is_readable = self.check_assignment(self._topic_partition)
        if not is_readable or self._partition_records is None:
            return []
        taken = self._partition_records.take(
            UNBOUNDED_RECORDS if max_records is None else max_records
        )
        self._update_position()
        if self._partition_records.is_used_up:
            self._partition_records = None
        return taken


def replace_fetch_classes(partition: type[FetchedPartitionBase], batches: type) -> None:
    """Let every consumer of this process read fetched bytes through these classes.

    aiokafka's fetcher has no setting for its classes. It finds them by name in its own module.
    """
    fetcher.FetchResult = BoundedFetchResult
    fetcher.PartitionRecords = partition
    fetcher.MemoryRecords = batches
