"""The next transaction of a replay: its events, the ids it settles, and how far it has read."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from consumer.jobs.replay.target import Target
from consumer.kafka.port import TransactionBatches
from consumer.kafka.read import ReadBatch
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import PackedBatch, SourceRecord
from consumer.pipeline.replay_decider import ReplayCounts, ReplayDecision, Replayer
from consumer.pipeline.routing import partition_for_key
from consumer.shard.progress import Fingerprint

DECIDE_CHUNK: Final = 1_000
TRANSACTION_EVENTS: Final = 5_000
TRANSACTION_BYTES: Final = 8 * 1024 * 1024
# Progress through a range without events is committed too, but less often.
TRANSACTION_OFFSETS: Final = 50_000
# One journal entry holds the ids that a transaction settles. It must fit the journal's
# max.message.bytes, also if none of these ids has an event (16 bytes each: 256 KiB).
TRANSACTION_SETTLED: Final = 16 * 1024

Observer = Callable[[TopicPartition, Sequence[SourceRecord], ReplayCounts], None]


class ReplayTransaction:
    """Collects decisions until it is full."""

    def __init__(
        self,
        replayer: Replayer,
        positions: dict[TopicPartition, int],
        began: float,
        observe: Observer | None = None,
    ) -> None:
        """`positions` are the next offsets to decide; this object moves them.

        `began` is monotonic. `observe` receives the decided records and their counts.
        """
        self.counts = ReplayCounts()
        self.next_offsets: dict[TopicPartition, int] = {}
        self._replayer = replayer
        self._positions = positions
        self._began = began
        self._observe = observe
        self._decision = ReplayDecision()
        self._last_records: dict[TopicPartition, SourceRecord] = {}
        self._passed = 0
        self._bytes = 0
        self._measured = 0

    @property
    def settled(self) -> dict[bytes, None]:
        """Digests of the ids that this transaction settles."""
        return self._decision.settled

    @property
    def fingerprints(self) -> dict[TopicPartition, Fingerprint]:
        """The last record that was read of each partition."""
        return {p: Fingerprint.of(record) for p, record in self._last_records.items()}

    @property
    def seconds(self) -> float:
        """How long ago the transaction began."""
        return time.monotonic() - self._began

    def decide(self, batch: ReadBatch, room: int) -> ReadBatch | None:
        """Decide about some records while the transaction has less than `room` events.

        A batch without records is progress too: its offsets are passed. Returns the rest of the
        batch, or None.
        """
        partition, records, next_offset = batch
        chunk = records[:DECIDE_CHUNK]
        counts = self._decision.counts = ReplayCounts()
        decided = self._replayer.decide(partition, chunk, self._decision, room)
        self.counts.add(counts)
        if self._observe is not None:
            self._observe(partition, chunk[:decided], counts)
        if decided:
            last = records[decided - 1]
            # A raised size limit would make records of this batch readable: no fingerprint of it.
            if not isinstance(last.value, PackedBatch):
                self._last_records[partition] = last
        rest = records[decided:]
        reached = rest[0].offset if rest else next_offset
        self._passed += reached - self._positions.get(partition, reached)
        self._positions[partition] = self.next_offsets[partition] = reached
        return batch._replace(records=rest) if rest else None

    def is_full(self, room: int) -> bool:
        """Return whether the transaction must be committed."""
        events = self._decision.events
        self._bytes += sum(len(event.value) for event in events[self._measured :])
        self._measured = len(events)
        return (
            len(events) >= room
            or len(self._decision.settled) >= TRANSACTION_SETTLED
            or self._bytes >= TRANSACTION_BYTES
            or self._passed >= TRANSACTION_OFFSETS
        )

    def write_events(self, batches: TransactionBatches, target: Target) -> None:
        """Append the events to the batches of the target topic."""
        for event in self._decision.events:
            partition = partition_for_key(event.key, target.partitions)
            batches.to(target.topic, partition).append(event.key, event.value, event.headers)
