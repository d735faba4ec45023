"""The service without deduplication and transactions: shows what the promise costs.

It has one task for each input partition, as the service has one for each shard. It uses the
service's reader, decoder, event builder and batch builder, and an idempotent producer. It computes
no digests, remembers no ids, writes no changelog, and publishes every duplicate.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer

from bench.peers.programs.job import Job
from consumer.config import PREFIX, Settings
from consumer.kafka.client import AioKafka, partition_batches, private_api
from consumer.kafka.client.transaction_batches import BATCH_BYTES
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decode.checkpoint import Decoded, decode_unusual, decode_usual
from consumer.pipeline.ready_event import ReadyEventBuilder
from consumer.pipeline.records import InvalidRecord, Limits, ShardSettings, SourceRecord
from consumer.pipeline.routing import partition_for_key
from schemas.ready_event import Origin

PARTITIONS: Final = 6  # of the input and of the output
MAX_RECORDS: Final = 12_000  # of one send, as MAX_TRANSACTION_RECORDS
CHUNK_RECORDS: Final = 500
MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024
FETCH_MS: Final = 100
ATTRIBUTES_POSITION: Final = 21
CHECKSUM = slice(17, 21)

encode = msgspec.json.Encoder().encode


class PlainBuilder:
    """Builds a batch that belongs to no transaction."""

    def __init__(self, builder: private_api.RecordsBuilder) -> None:
        """Take a builder of the service, whose batches are transactional."""
        self.record_count = builder.record_count
        self.set_producer_state = builder.set_producer_state
        self.size = builder.size
        self._build = builder.build

    def build(self) -> bytearray:
        """Return the batch with the transactional bit cleared."""
        batch = bytearray(self._build())
        batch[ATTRIBUTES_POSITION + 1] = 0
        checksum = partition_batches.crc32c(bytes(batch), ATTRIBUTES_POSITION)
        batch[CHECKSUM] = checksum.to_bytes(4)
        return batch


class Copier:
    """Publishes the events of one input partition."""

    def __init__(self, job: Job, kafka: AioKafka, partition: int) -> None:
        """Connect nothing yet."""
        limits = Limits(MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
        settings = ShardSettings(partition, PARTITIONS, job.group, limits)
        self._job = job
        self._source = TopicPartition(job.input_topic, partition)
        self._builder = ReadyEventBuilder.of(settings)
        self._reader = kafka.reader(
            f"{job.group}-{partition}",
            topics=[job.input_topic],
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        self._producer = AIOKafkaProducer(
            bootstrap_servers=job.bootstrap_servers, enable_idempotence=True
        )

    async def run(self) -> None:
        """Publish until the program is killed."""
        await self._reader.start()
        await self._producer.start()
        self._reader.assign({self._source: 0})
        self._reader.use_running_fetch_settings()
        while True:
            records: list[SourceRecord] = []
            while len(records) < MAX_RECORDS:
                fetched = await self._reader.fetch(FETCH_MS, MAX_RECORDS - len(records))
                records += fetched.get(self._source, ())
                if not fetched or not self._reader.lag(self._source):
                    break
            if records:
                await self._send(records)

    async def _send(self, records: list[SourceRecord]) -> None:
        targets: dict[int, partition_batches.PartitionBatches] = {}
        now_ms = wall_clock_ms()
        for begin in range(0, len(records), CHUNK_RECORDS):
            for record in records[begin : begin + CHUNK_RECORDS]:
                self._add(record, targets, now_ms)
            await asyncio.sleep(0)
        finished = {target: list(batches.finish()) for target, batches in targets.items()}
        deliveries = [
            await self._producer.send_batch(
                private_api.Batch(PlainBuilder(batch)), self._job.output_topic, partition=target
            )
            for target, batch in in_rounds(finished)
        ]
        await asyncio.gather(*deliveries)

    def _add(
        self,
        record: SourceRecord,
        targets: dict[int, partition_batches.PartitionBatches],
        now_ms: int,
    ) -> None:
        headers = record.headers
        try:
            found = decode_usual(record.value, headers) or decode_unusual(record.value, headers)
        except InvalidRecord:
            return
        if not isinstance(found, Decoded):
            found = Decoded(found.id, found.fine_tuning_job_id, found, encode(found), b"")
        origin = Origin(*self._source, record.offset, record.timestamp)
        ready = self._builder.build(found, origin, headers)
        target = partition_for_key(ready.key, PARTITIONS)
        if target not in targets:
            targets[target] = partition_batches.new_partition_batches(BATCH_BYTES, now_ms)
        targets[target].append(ready.key, ready.value, ready.headers)


def in_rounds(
    finished: dict[int, list[private_api.RecordsBuilder]],
) -> Iterable[tuple[int, private_api.RecordsBuilder]]:
    """Yield the first batch of every partition, then the second ones, and so on."""
    for number in range(max(map(len, finished.values()))):
        for target, batches in finished.items():
            if number < len(batches):
                yield target, batches[number]


async def main() -> None:
    """Run one task for each partition."""
    job = Job.from_arguments()
    settings = Settings.load({f"{PREFIX}BOOTSTRAP_SERVERS": job.bootstrap_servers})
    kafka = AioKafka.of(settings)
    async with asyncio.TaskGroup() as tasks:
        for partition in range(PARTITIONS):
            tasks.create_task(Copier(job, kafka, partition).run())


if __name__ == "__main__":
    asyncio.run(main())
