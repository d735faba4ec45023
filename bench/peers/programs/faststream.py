"""The job with FastStream on aiokafka: batches, at least once, and the ids in a set.

The set is lost with the process. So a restart publishes ids again, and so does a rebalance.
"""

import asyncio
from collections.abc import Sequence

from aiokafka import ConsumerRecord
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from bench.peers.programs.job import Job, Ready, ready_event

BATCH_RECORDS = 4000


async def main() -> None:
    """Run until SIGTERM."""
    job = Job.from_arguments()
    broker = KafkaBroker(
        job.bootstrap_servers, linger_ms=5, max_batch_size=262_144, logger=None, apply_types=False
    )
    seen: set[str] = set()

    async def raw_records(message: KafkaMessage) -> Sequence[ConsumerRecord]:
        """Hand out the records as they are, because the job decodes them."""
        records: Sequence[ConsumerRecord] = message.raw_message
        return records

    @broker.subscriber(
        job.input_topic,
        batch=True,
        max_records=BATCH_RECORDS,
        group_id=job.group,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK,
        decoder=raw_records,
    )
    async def handle(records: Sequence[ConsumerRecord]) -> None:
        sent = []
        for record in records:
            event = ready_event(
                record.value, record.topic, record.partition, record.offset, record.timestamp
            )
            if event is None:
                event, topic = Ready("", record.key, record.value), job.dead_letter_topic
            elif event.id in seen:
                continue
            else:
                seen.add(event.id)
                topic = job.output_topic
            sent.append(await broker.publish(event.value, topic, key=event.key, no_confirm=True))
        await asyncio.gather(*sent)

    await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    asyncio.run(main())
