"""The next transaction of a replay: its events, the ids that it settles, and its read positions."""

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
# After this many offsets the progress is committed, even if there are few events or none.
TRANSACTION_OFFSETS: Final = 50_000
# One journal entry has the digests of the ids that a transaction settles (16 bytes each, so at most
# 256 KiB). The entry must fit max.message.bytes of the journal. TRANSACTION_EVENTS does not limit
# the size of the entry, because an id can be settled without an event.
TRANSACTION_SETTLED_IDS: Final = 16 * 1024

OnDecided = Callable[[TopicPartition, Sequence[SourceRecord], ReplayCounts], None]


class ReplayTransaction:
    """Collects decisions until the transaction is full."""

    def __init__(
        self,
        replayer: Replayer,
        positions: dict[TopicPartition, int],
        began: float,
        on_decided: OnDecided | None = None,
    ) -> None:
        """`positions` has the next offset of each partition; this object updates the dict.

        `began` is monotonic. `on_decided` receives the decided records and their counts.
        """
        self.counts = ReplayCounts()
        self.next_offsets: dict[TopicPartition, int] = {}
        self._replayer = replayer
        self._positions = positions
        self._began = began
        self._on_decided = on_decided
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
        """The fingerprint of the last record that was read from each partition."""
        return {p: Fingerprint.of(record) for p, record in self._last_records.items()}

    @property
    def seconds(self) -> float:
        """How long ago the transaction began."""
        return time.monotonic() - self._began

    def decide(self, batch: ReadBatch, max_events: int) -> ReadBatch | None:
        """Decide about the next records of the batch: at most `DECIDE_CHUNK`.

        Stop when the transaction has `max_events` events. Return the rest of the batch, or None. A
        batch without records only moves the position.
        """
        partition, records, next_offset = batch
        chunk = records[:DECIDE_CHUNK]
        counts = self._decision.counts = ReplayCounts()
        decided = self._replayer.decide(partition, chunk, self._decision, max_events)
        self.counts.add(counts)
        if self._on_decided is not None:
            self._on_decided(partition, chunk[:decided], counts)
        if decided:
            last = records[decided - 1]
            # Take no fingerprint of a `PackedBatch`: after a change of the size limit, the reader
            # may deliver the single records of this batch, which do not match the fingerprint.
            if not isinstance(last.value, PackedBatch):
                self._last_records[partition] = last
        rest = records[decided:]
        reached = rest[0].offset if rest else next_offset
        self._passed += reached - self._positions.get(partition, reached)
        self._positions[partition] = self.next_offsets[partition] = reached
        return batch._replace(records=rest) if rest else None

    def is_full(self, max_events: int) -> bool:
        """Return whether the transaction must be committed."""
        events = self._decision.events
        self._bytes += sum(len(event.value) for event in events[self._measured :])
        self._measured = len(events)
        return (
            len(events) >= max_events
            or len(self._decision.settled) >= TRANSACTION_SETTLED_IDS
            or self._bytes >= TRANSACTION_BYTES
            or self._passed >= TRANSACTION_OFFSETS
        )

    def write_events(self, batches: TransactionBatches, target: Target) -> None:
        """Append the events to the batches of the target topic."""
        for event in self._decision.events:
            partition = partition_for_key(event.key, target.partitions)
            batches.to(target.topic, partition).append(event.key, event.value, event.headers)
