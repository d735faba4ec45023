"""How fast a shard reads its changelog back at a start, and what an id costs in memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from confluent_kafka import Producer

from bench.service import CLOCK_TICKS, BenchService
from consumer.pipeline.records import IdEntry
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import id_record
from schemas.ready_event import Origin

IDS_PER_TRANSACTION: Final = 100_000
DEADLINE_SECONDS: Final = 1800.0
FLUSH_SECONDS: Final = 60.0
KIB: Final = 1024


def measure_restore(bootstrap_servers: str, *, ids: int) -> dict[str, object]:
    """Fill one shard's changelog with `ids` entries and let a real process restore them.

    The rate counts from the first fetch to the mark, by the process's own log. Memory is what the
    process holds after the restore beyond what it holds with an empty changelog.
    """
    name = f"restore-{ids}"
    with BenchService(bootstrap_servers, name, start=False, SHARDS="1") as service:
        with _running(service) as process:
            empty = _wait_for_restore(process)
            empty_bytes = _resident_bytes(process)
        _fill(service, ids)
        with _running(service) as process:
            restored = _wait_for_restore(process)
            resident_bytes, cpu_seconds = _resident_bytes(process), _cpu_seconds(process)
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


def _fill(service: BenchService, ids: int) -> None:
    """Write id entries as the service writes them, in large transactions."""
    settings = {**service.cluster.settings, "transactional.id": f"{service.group}-filler"}
    producer = Producer({**settings, "linger.ms": 50, "queue.buffering.max.messages": 400_000})
    producer.init_transactions(FLUSH_SECONDS)
    for begin in range(0, ids, IDS_PER_TRANSACTION):
        producer.begin_transaction()
        for number in range(begin, min(begin + IDS_PER_TRANSACTION, ids)):
            checkpoint_id = f"ftckpt_{number:024d}"
            origin = Origin(service.input, 0, number, 1_721_764_900_000 + number)
            digest = id_digest(checkpoint_id)
            entry = IdEntry(checkpoint_id, digest, origin, origin.timestamp_ms)
            key, value = id_record(digest, entry)
            producer.produce(f"{service.group}.changelog", value, key, 0)
            if number % 1000 == 0:
                producer.poll(0)
        producer.commit_transaction(FLUSH_SECONDS)


@contextmanager
def _running(service: BenchService) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "run"],
        env=service.environment,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=FLUSH_SECONDS)


def _wait_for_restore(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """Read log lines until the shard runs and return the one about the restore."""
    restored: dict[str, object] = {}
    for line in _lines(process.stdout):
        if line.get("event") == "restored":
            restored = line
        if line.get("event") == "task_state" and line.get("state") == "running":
            return restored
    raise RuntimeError("the service did not come so far")


def _lines(stream: IO[bytes] | None) -> Iterator[dict[str, object]]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    for line in stream or ():
        yield json.loads(line)
        if time.monotonic() > deadline:
            raise TimeoutError


def _resident_bytes(process: subprocess.Popen[bytes]) -> int:
    pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
