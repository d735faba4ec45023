"""A topic of ready events that the service wrote while it was killed: its log has aborted events.

The service is killed twice between the send and the commit of a transaction. So the topic holds
events of aborted transactions, which the restarted service publishes again. It writes the first
events in structured mode and the others in binary mode. All examples read the same topic.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from consumer.shard.events import Step
from tests.integration.crashing_service import crashing_at
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home
from tests.support.verdicts import compare_ids, wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster
    from tests.support.reader import Record
    from tests.support.topics import Names

SHARDS = 3
IDS_OF_A_SHARD = 30
JOBS = 5
DUPLICATE_EVERY = 3
TRANSACTION_RECORDS = 8
# One more than there are shards: one shard has committed its first transaction before.
STRUCTURED_CRASH = SHARDS + 1


class Source(NamedTuple):
    """A checkpoint that was produced, and so what its ready event must say."""

    id: str
    job: str
    step: int
    model: str
    loss: float | None

    def record(self, partition: int) -> NewRecord:
        """Return the record."""
        value = checkpoint(
            self.id,
            job=self.job,
            step_number=self.step,
            fine_tuned_model_checkpoint=self.model,
            metrics={} if self.loss is None else {"valid_loss": self.loss},
        )
        return NewRecord(value, b"key", partition)


class History(NamedTuple):
    """The topic, what it must hold, and what it holds."""

    cluster: Cluster
    topic: str
    sources: dict[str, Source]
    committed: list[Record]
    aborted: list[Record]

    @property
    def bootstrap_servers(self) -> str:
        """The brokers."""
        return self.cluster.bootstrap_servers


def make_history(cluster: Cluster, names: Names) -> History:
    """Run the service with two crashes, and return the topic that it wrote."""
    sources = list(_sources())
    with Deployment(
        cluster, names, input_partitions=SHARDS, MAX_TRANSACTION_RECORDS=TRANSACTION_RECORDS
    ) as deployment:
        cluster.produce(deployment.input_topic, list(_records(sources)))
        for crash, mode in ((STRUCTURED_CRASH, "structured"), (1, "binary")):
            command = crashing_at(Step.SENT, crash)
            crashing = deployment.start("one", command=command, CLOUDEVENTS_MODE=mode)
            assert crashing.wait() == -signal.SIGKILL, crashing.tail()
        deployment.start("one", CLOUDEVENTS_MODE="binary")
        wait_until_handled(cluster, names)
        committed = cluster.read(deployment.ready_topic)
        everything = cluster.read(deployment.ready_topic, committed_only=False)
    verdict = compare_ids((source.id for source in sources), Counter(map(id_of, committed)))
    assert verdict.is_exactly_once, str(verdict)
    places = set(map(place_of, committed))
    aborted = [record for record in everything if place_of(record) not in places]
    # The crash is after the broker has acknowledged every batch of the transaction.
    assert {is_binary(record) for record in aborted} == {False, True}
    assert {is_binary(record) for record in committed} == {False, True}
    return History(
        cluster,
        deployment.ready_topic,
        {source.id: source for source in sources},
        committed,
        aborted,
    )


def place_of(record: Record) -> tuple[int, int]:
    """Return partition and offset."""
    return record.partition, record.offset


def is_binary(record: Record) -> bool:
    """Return whether an event is in binary mode."""
    return record.header("ce_id") is not None


def id_of(record: Record) -> str:
    """Return the id of a ready event in either content mode."""
    in_header = record.header("ce_id")
    if in_header is not None:
        return in_header.decode()
    return str(json.loads(record.value or b"")["id"])


def _sources() -> Iterator[Source]:
    for shard in range(SHARDS):
        for number, one in enumerate(ids_at_home(shard, SHARDS, IDS_OF_A_SHARD, "history")):
            step = 10 * number
            model = f"ft:gpt-4o-mini-2024-07-18:my-org:tone:9ABel2dg:ckpt-step-{step}"
            loss = None if number % JOBS == 0 else 1 / (number + 1)
            yield Source(one, f"ftjob-{shard}-{number % JOBS}", step, model, loss)


def _records(sources: list[Source]) -> Iterator[NewRecord]:
    """Yield each source, and every third one again."""
    for number, source in enumerate(sources):
        partition = number // IDS_OF_A_SHARD
        yield source.record(partition)
        if number % DUPLICATE_EVERY == 0:
            yield source.record(partition)
