"""The mark: a committed record up to which a log must be read to know all that came before.

It is written behind a fence, so nothing of an earlier owner can become visible after it.
"""

from consumer.errors import TaskFailed
from consumer.kafka.port import TransactionalWriter, TransactionBatches
from consumer.kafka.types import TopicPartition


async def commit_barrier(
    writer: TransactionalWriter,
    transaction_batches: TransactionBatches,
    place: TopicPartition,
    key: bytes,
    value: bytes,
) -> int:
    """Commit one record at a place and return its offset.

    Raises:
        Fenced: another process took over.
        TaskFailed: the outcome, or only the offset, is not known.
    """
    transaction_batches.to(*place).append(key, value)
    offsets = await writer.send(transaction_batches)
    await writer.commit()
    offset = offsets[place]
    if offset < 0:  # a broker's answer to a retried batch may lack it
        raise TaskFailed("the offset of the mark is not known")
    return offset
