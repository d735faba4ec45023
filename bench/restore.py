"""Measures how fast a starting shard restores its changelog, and the memory of one id."""

from typing import Final

from confluent_kafka import Producer

from bench.service import BenchService
from consumer.pipeline.records import IdEntry
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import id_record
from schemas.ready_event import Origin
from tests.support.cluster import Cluster
from tests.support.records import home_shard
from tests.support.service_process import Line, ServiceProcess

IDS_PER_TRANSACTION: Final = 100_000
DEADLINE_SECONDS: Final = 1800.0
FLUSH_SECONDS: Final = 60.0
KIB: Final = 1024


def measure_restore(bootstrap_servers: str, *, ids: int) -> dict[str, object]:
    """Fill the changelog of one shard with `ids` entries, and start a process that restores them.

    The rate is measured from the first fetch to the restore barrier, according to the log of the
    process. The memory is the difference to a start with an empty changelog.
    """
    name = f"restore-{ids}"
    with BenchService(bootstrap_servers, name, start=False, SHARDS="1") as service:
        process = service.start_logged()
        empty, empty_bytes = _wait_for_restore(process), process.memory_bytes
        process.terminate(FLUSH_SECONDS)
        fill_changelog(service.cluster, service.group, service.input_topic, ids=ids, shards=1)
        process = service.start_logged()
        restored = _wait_for_restore(process)
        resident_bytes, cpu_seconds = process.memory_bytes, process.cpu_seconds
        process.terminate(FLUSH_SECONDS)
    if restored["ids"] != ids or empty["ids"]:
        raise RuntimeError(f"{restored['ids']} ids were restored, not {ids}")
    return {
        "measure": "restore",
        "ids": ids,
        "seconds": restored["seconds"],
        "ids_per_second": round(ids / float(str(restored["seconds"]))),
        "ids_per_cpu_second": round(ids / cpu_seconds),
        "bytes_per_id": round((resident_bytes - empty_bytes) / ids, 1),
        "resident_mib": round(resident_bytes / KIB**2),
    }


def fill_changelog(
    cluster: Cluster, group: str, input_topic: str, *, ids: int, shards: int
) -> None:
    """Write id entries as the service writes them, in large transactions.

    The ids have the numbers 0 to `ids` - 1, and each is in the partition of its home shard.
    """
    settings = {**cluster.settings, "transactional.id": f"{group}-filler"}
    producer = Producer({**settings, "linger.ms": 50, "queue.buffering.max.messages": 400_000})
    producer.init_transactions(FLUSH_SECONDS)
    for begin in range(0, ids, IDS_PER_TRANSACTION):
        producer.begin_transaction()
        for number in range(begin, min(begin + IDS_PER_TRANSACTION, ids)):
            checkpoint_id = f"ftckpt_{number:024d}"
            origin = Origin(input_topic, 0, number, 1_721_764_900_000 + number)
            digest = id_digest(checkpoint_id)
            entry = IdEntry(checkpoint_id, digest, origin, origin.timestamp_ms)
            key, value = id_record(digest, entry)
            producer.produce(f"{group}.changelog", value, key, home_shard(checkpoint_id, shards))
            if number % 1000 == 0:
                producer.poll(0)
        producer.commit_transaction(FLUSH_SECONDS)


def _wait_for_restore(process: ServiceProcess) -> Line:
    """Wait until the shard runs, and return the log line about the restore."""
    process.wait_for_log("task_state", DEADLINE_SECONDS, state="running")
    (restored,) = process.logged("restored")
    return restored
