"""A limit: aiokafka copies each record, without decoding, deduplication or transactions."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.peers.programs.job import Job

BATCH_RECORDS = 4000


async def main() -> None:
    """Copy until the program is killed."""
    job = Job.from_arguments()
    consumer = AIOKafkaConsumer(
        job.input_topic,
        bootstrap_servers=job.bootstrap_servers,
        group_id=job.group,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 2**20,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=job.bootstrap_servers, linger_ms=5, max_batch_size=262_144
    )
    async with producer, consumer:
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=BATCH_RECORDS)
            sent = [
                await producer.send(job.output_topic, record.value, record.key)
                for records in fetched.values()
                for record in records
            ]
            await asyncio.gather(*sent)


if __name__ == "__main__":
    asyncio.run(main())
