"""Record batches that a broker accepts and a careless reader stops at, or loses others by."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode

from tests.batches.build import batch, record, varint
from tests.batches.send import send_batches
from tests.support.deployment import Deployment
from tests.support.records import checkpoint
from tests.support.verdicts import assert_exactly_once, wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

MIB = 1024 * 1024
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NOT_JSON = b"not JSON"


class Case(NamedTuple):
    """A batch, the ids that can be read of it, and its dead letter if it is one."""

    name: str
    raw: bytes
    ids: Sequence[str] = ()
    reason: bytes | None = None


def of_header_bomb() -> bytes:
    """Return 61 kB that would become 31 million headers of one record."""
    count = 31_000_000
    body = b"\0\0\0\1\1" + varint(count) + b"\0\0" * count
    return batch(gzip_encode(varint(len(body)) + body), 1, attributes=GZIP)


def of_tiny_records() -> bytes:
    """Return a few kB that would become 900,000 records without key and value."""
    count = 900_000
    tiny = b"".join(record(number, None) for number in range(count))
    return batch(zstd_encode(tiny), count, attributes=ZSTD)


def of_header_pairs() -> bytes:
    """Return an uncompressed batch of 400,000 headers in a hundred records."""
    headers = [(b"", b"")] * 4000
    return batch(b"".join(record(number, NOT_JSON, headers=headers) for number in range(100)), 100)


def cases() -> list[Case]:
    """Return what a producer may send; each id occurs once."""

    def one(name: str, attributes: int = 0) -> bytes:
        return record(0, checkpoint(name), attributes=attributes)

    long_number = b"\x80\x80\x80\x80\x70"  # 0 to Java, 30 billion to a reader of 64 bits
    value = checkpoint("long_number")
    body = b"\0\0\0\1" + varint(len(value)) + value + long_number
    return [
        Case("offset", batch(record(5, checkpoint("offset")), 1), ["offset"]),
        Case("all say 0", batch(one("zero_a") + one("zero_b"), 2), ["zero_a", "zero_b"]),
        Case("attributes", batch(one("attributes", attributes=0x80), 1), ["attributes"]),
        Case("a long number", batch(varint(len(body)) + body, 1), ["long_number"]),
        Case(
            "behind gzip",
            batch(gzip_encode(one("gzip")) + b"behind the stream", 1, attributes=GZIP),
            ["gzip"],
        ),
        Case(
            "behind lz4",
            batch(lz4_encode(one("lz4")) + b"behind the frame", 1, attributes=LZ4),
            ["lz4"],
        ),
        Case(
            "snappy, raw",
            batch(snappy_encode(one("raw"), xerial_compatible=False), 1, attributes=SNAPPY),
            ["raw"],
        ),
        Case(
            "a header that is not UTF-8",
            batch(record(0, checkpoint("name"), headers=[(b"\xff\xfe", b"x")]), 1),
            ["name"],
        ),
        Case("a bomb of headers", of_header_bomb(), reason=b"too_large"),
        Case("tiny records", of_tiny_records(), reason=b"too_large"),
    ]


def stopped(service: ServiceProcess) -> ServiceProcess:
    """Stop a service in order, so that its progress is saved, and return it."""
    assert service.terminate() == 0
    return service


def send(deployment: Deployment, batches: Sequence[bytes]) -> list[int | str]:
    """Send batches to partition 0 of the input."""
    servers = deployment.cluster.bootstrap_servers
    return asyncio.run(send_batches(servers, deployment.input_topic, batches))


@pytest.mark.timeout(240)
def test_every_other_record_of_the_partition_is_published(cluster: Cluster, names: Names) -> None:
    """Each such batch lies between sound ones; it is read, or one dead letter with its bytes."""
    hostile = cases()
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(3, service)
        batches, ids = [], []
        for number, case in enumerate(hostile):
            sound = f"between_{number}"
            batches += [case.raw, batch(record(0, checkpoint(sound)), 1)]
            ids += [*case.ids, sound]
        accepted = send(deployment, batches)
        assert all(isinstance(offset, int) for offset in accepted), accepted
        # A shard that took the offset of the first record for true would be behind all of these.
        assert_exactly_once(cluster, names, ids)
        assert service.peak_memory_bytes < 300 * MIB
        service = deployment.restart(stopped(service))
        send(deployment, [batch(record(0, checkpoint("after")), 1)])
        assert_exactly_once(cluster, names, [*ids, "after"])
        letters = cluster.read(deployment.dead_letter_topic)
        refused = [case for case in hostile if case.reason is not None]
        assert [letter.header("checkpoint-ready.reason") for letter in letters] == [
            case.reason for case in refused
        ]
        for letter, case in zip(letters, refused, strict=True):
            # What a broker changes of a batch is before the fields that its checksum covers.
            assert (letter.value or b"")[61:] == case.raw[61:]
        assert not any(process.logged("task_failed") for process in deployment.processes)


def test_progress_is_the_position(cluster: Cluster, names: Names) -> None:
    """A record at offset 0 that says 3: after a restart the records at 1 and 2 are still read."""
    with Deployment(cluster, names, input_partitions=1) as deployment:
        service = deployment.start()
        deployment.wait_until_running(3, service)
        send(deployment, [batch(record(3, NOT_JSON), 1)])
        wait_until_handled(cluster, names)
        service = deployment.restart(stopped(service))
        ids = [f"others_{number}" for number in range(3)]
        send(deployment, [batch(record(0, checkpoint(one)), 1) for one in ids])
        assert_exactly_once(cluster, names, ids)
        assert [record.value for record in cluster.read(deployment.dead_letter_topic)] == [NOT_JSON]
        assert not any(process.logged("input_recreated") for process in deployment.processes)


def test_objects_are_counted_in_what_is_taken(cluster: Cluster, names: Names) -> None:
    """Ten batches of 800 kB hold 4 million headers: a few at a time are in memory."""
    with Deployment(cluster, names) as deployment:
        send(deployment, [of_header_pairs()] * 10)
        send(deployment, [batch(record(0, checkpoint("after")), 1)])
        service = deployment.start()
        assert_exactly_once(cluster, names, ["after"])
        assert service.peak_memory_bytes < 300 * MIB
