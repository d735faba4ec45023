"""Refuses to go on over a transaction of ours that the brokers have left open in some partition.

A fence settles what the former owner left open, in every partition: that is what InitProducerId
promises. Seen on Kafka 4.3.1, the coordinator passes over a partition that has no leader just then,
as if it were deleted, and never writes its marker. Our next marker there would decide about both
transactions, so what was aborted would become visible.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from consumer.engine.kafka import ClusterAdmin, ShardWriter
from consumer.errors import StateCorrupted

LOOKS: Final = 3
LOOK_SECONDS: Final = 1.0


async def refuse_hanging(admin: ClusterAdmin, writer: ShardWriter, topics: Iterable[str]) -> None:
    """Look, behind a fence, for a transaction of this writer that is open all the same.

    Raises:
        StateCorrupted: there is one; a person must end it.
        TransientError, TaskFailed: a partition's leader is gone or does not answer.
        ClusterError: we may not read a topic.
    """
    wanted = list(topics)
    producer_id, epoch = writer.producer_id_and_epoch
    for look in range(LOOKS):
        found = await admin.open_transactions(producer_id, epoch, wanted)
        if not found:
            return
        if look < LOOKS - 1:
            await asyncio.sleep(LOOK_SECONDS)
    places = ", ".join(
        f"{place.topic}/{place.partition} from offset {offset} on"
        for place, offset in sorted(found.items())
    )
    raise StateCorrupted(
        f"a transaction of {writer.transactional_id} hangs in {places}: the brokers ended it "
        "without a marker there, and going on would make it visible; end it first "
        "(docs/operations.md, When a transaction hangs)"
    )
