"""The private parts of aiokafka that we need, each with its reason. Pinned to 0.14.0.

A test fails when one of them changes its name or its meaning.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import OffsetAndMetadata

from consumer.errors import TaskFailed
from consumer.kafka.client.connection import bounded
from consumer.kafka.types import TopicPartition

CLOSE_SECONDS: Final = 2.0


def compiled_append(batch: BatchBuilder) -> Callable[..., object | None]:
    """Return the compiled builder's own ``append``: a third of the cost of the wrapper's.

    Its arguments are (relative offset, timestamp, key, value, headers); None means: full.
    """
    append: Callable[..., object | None] = batch._builder.append  # noqa: SLF001
    return append


def close_batch(batch: BatchBuilder, record_count: int) -> None:
    """Tell the wrapper what ``compiled_append`` added; sequence numbers are made from it."""
    batch._relative_offset = record_count  # noqa: SLF001
    batch.close()


def producer_id_and_epoch(producer: AIOKafkaProducer) -> tuple[int, int]:
    """Return what InitProducerId gave; a transactional id keeps its id, each owner has an epoch."""
    manager = producer._txn_manager  # noqa: SLF001
    return int(manager.producer_id), int(manager.producer_epoch)


def add_to_transaction(producer: AIOKafkaProducer, partitions: Iterable[TopicPartition]) -> None:
    """Register partitions in the open transaction without a record (AddPartitionsToTxn).

    The library registers only partitions that a record is sent to.
    """
    for partition in partitions:
        producer._txn_manager.maybe_add_partition_to_txn(partition)  # noqa: SLF001


def transaction_end(producer: AIOKafkaProducer) -> asyncio.Future[None]:
    """Return the future that an open transaction ends with: it holds the first error."""
    ended: asyncio.Future[None] = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
    return ended


def watch_fetches(
    consumer: AIOKafkaConsumer, note: Callable[[TopicPartition, float, bool], None]
) -> None:
    """Call ``note`` for each partition that a fetch answers for.

    Its arguments say when the fetch was sent (monotonic seconds), and whether it, or one before
    that got no answer, was refused. The library retries both without a report, also where a topic
    was deleted and created again meanwhile, or a broker came back without its last records.
    """
    send = consumer._client.send  # noqa: SLF001
    unanswered: set[TopicPartition] = set()

    async def watched(node_id: int, request: Any, **more: Any) -> Any:  # noqa: ANN401 - the library is untyped
        sent_at = time.monotonic()
        try:
            response = await send(node_id, request, **more)
        except KafkaError:
            if isinstance(request, FetchRequest):
                for topic, asked in request.topics:
                    unanswered.update(TopicPartition(topic, partition) for partition, *_ in asked)
            raise
        if isinstance(request, FetchRequest):
            for topic, partitions in response.topics:
                for partition, error_code, *_ in partitions:
                    source = TopicPartition(topic, partition)
                    note(source, sent_at, error_code != 0 or source in unanswered)
                    unanswered.discard(source)
        return response

    consumer._client.send = watched  # noqa: SLF001


def set_fetch_wait(consumer: AIOKafkaConsumer, milliseconds: int) -> None:
    """Change how long a fetch may wait at the broker for new records (``fetch.max.wait.ms``).

    A broker answers the requests of a connection one by one: behind a waiting fetch every other
    request waits too, which would add up at a shard's start.
    """
    consumer._fetcher._fetch_max_wait_ms = milliseconds  # noqa: SLF001


def set_partition_fetch_bytes(consumer: AIOKafkaConsumer, size_bytes: int) -> None:
    """Change how much of a partition is fetched at once (``max.partition.fetch.bytes``)."""
    consumer._fetcher._max_partition_fetch_bytes = size_bytes  # noqa: SLF001


def position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Return the position without the await of ``consumer.position``, which can wait 10 s."""
    state = consumer._subscription.subscription.assignment.state_value(partition)  # noqa: SLF001
    return int(state.position)


def track_topics(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> None:
    """Keep these topics in the client's metadata; ``assign`` alone would forget all others.

    Without it every ListOffsets of another topic costs failed tries until its metadata is known.
    """
    consumer._client._topics.update(topics)  # noqa: SLF001


def client(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """Return the client, to close it where ``consumer.stop`` did not."""
    return consumer._client  # noqa: SLF001


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close within a bound; what a silent broker owes us is not waited for.

    ``stop()`` may raise CancelledError and leak its client, so the client is closed by hand too.
    """
    stop = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stop], timeout=CLOSE_SECONDS)
    if not stop.done():
        stop.cancel()
    elif not stop.cancelled():
        stop.exception()
    with contextlib.suppress(TaskFailed):
        await bounded(client(consumer).close(), CLOSE_SECONDS, "closing")


def member_id(consumer: AIOKafkaConsumer) -> str:
    """Return the id that the group knows this member by."""
    return str(consumer._coordinator.member_id)  # noqa: SLF001


def has_membership_ended(consumer: AIOKafkaConsumer) -> bool:
    """Tell whether the library's group coordination ended by an error of its own.

    Nothing of it ever starts again then; the consumer would stay outside the group for ever.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    return coordinator is not None and coordinator._coordination_task.done()  # noqa: SLF001


def leave_on_stop(consumer: AIOKafkaConsumer) -> None:
    """Let ``stop()`` send LeaveGroup also for a static member.

    The library skips it there, and the member's shards would wait out a session timeout after
    every orderly end.
    """
    if consumer._coordinator is not None:  # noqa: SLF001
        consumer._coordinator._group_instance_id = None  # noqa: SLF001


async def commit_group_offsets(
    consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]
) -> None:
    """Commit offsets of partitions that the group does not assign; ``commit`` refuses those."""
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator is None or coordinator.coordinator_id is None or coordinator.generation <= 0:
        return
    await coordinator._do_commit_offsets(  # noqa: SLF001
        None, {partition: OffsetAndMetadata(offset, "") for partition, offset in offsets.items()}
    )
