"""Compares what the service reads of fetched bytes with what the Java client reads of them."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException

from consumer.kafka.client import fetched as reading
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import PackedBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.batches.java_client import JavaReading

reading.install()
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
READ_COMMITTED = 1
FIRST_MAGIC_OF_BATCHES = 2


class Reading(NamedTuple):
    """What the service reads: records and packed batches, and where it would go on."""

    records: list[Any]
    packed: list[Any]
    next_offset: int
    is_corrupt: bool


def read_here(
    fetched: bytes,
    *,
    start: int = 0,
    most_records: int = 1000,
    aborted: Sequence[tuple[int, int]] | None = None,
) -> Reading:
    """Read as a fetch of the service does, up to its end.

    `aborted` are the aborted transactions: producer id and first offset of each.
    """
    partition = fetcher.PartitionRecords(
        TopicPartition("t", 0),
        fetcher.MemoryRecords(fetched),
        aborted,
        start,
        None,
        None,
        True,  # noqa: FBT003 - the library's own order: check the checksums
        READ_COMMITTED,
    )
    found: list[Any] = []
    is_corrupt = False
    try:
        while not partition.is_used_up:
            found += partition.take(most_records, 1 << 40)
    except CorruptRecordException:
        is_corrupt = True
    packed = [one for one in found if isinstance(one.value, PackedBatch)]
    records = [one for one in found if not isinstance(one.value, PackedBatch)]
    return Reading(records, packed, partition.next_fetch_offset, is_corrupt)


def judge(fetched: bytes, java: JavaReading) -> str:
    """Return the outcome in a word; raise AssertionError where the service is wrong.

    1. A batch whose offsets contradict its number of records is corrupt: brokers refuse it.
    2. What both read is the same. Where Java fails, the service reads no less, except of a damaged
       compressed stream, which brokers refuse. Offsets in a compacted batch must be possible.
    3. What is not read is in a packed batch. Where Java does not fail, there is none.
    """
    ours = read_here(fetched)
    if ours.is_corrupt:  # 1.
        assert java.error is not None or _contradicts_itself(fetched)
        return "corrupt"
    both = min(len(java.records), len(ours.records))
    assert (
        [_content(one) for one in ours.records[:both]]
        == [  # 2.
            (one.timestamp, one.key, one.value, [(_replaced(n), c) for n, c in one.headers])
            for one in java.records[:both]
        ]
    )
    offsets = [one.offset for one in ours.records]
    assert rises([*offsets, ours.next_offset]), offsets
    if _has_impossible_offsets(fetched, java):
        return "packed" if ours.packed else "read"
    assert both == len(java.records) or (java.error and _is_compressed(fetched))
    if java.error is None:  # 3.
        assert len(ours.records) == len(java.records)
        assert not ours.packed
        return "read"
    assert ours.packed or _is_compressed(fetched)
    return "packed"


def _contradicts_itself(fetched: bytes) -> bool:
    if fetched[16] < FIRST_MAGIC_OF_BATCHES:
        return False
    (last_offset_delta,) = struct.unpack_from(">i", fetched, 23)
    (count,) = struct.unpack_from(">i", fetched, 57)
    return not 0 <= count <= last_offset_delta + 1


def _has_impossible_offsets(fetched: bytes, java: JavaReading) -> bool:
    (base_offset,) = struct.unpack_from(">q", fetched)
    offsets = [one.offset for one in java.records]
    if fetched[16] < FIRST_MAGIC_OF_BATCHES:  # a message has the offset of its last inner one
        return _is_compressed(fetched) and not rises([-1, *offsets, base_offset + 1])
    (delta,) = struct.unpack_from(">i", fetched, 23)
    (count,) = struct.unpack_from(">i", fetched, 57)
    if count == delta + 1:  # the place of a record gives its offset
        return False
    return not rises([base_offset - 1, *offsets, base_offset + delta + 1])


def _is_compressed(fetched: bytes) -> bool:
    return bool(fetched[17 if fetched[16] < FIRST_MAGIC_OF_BATCHES else 22] & 7)


def read_in_steps(fetched: bytes) -> None:
    """Assert that reading in small steps gives what reading at once gives."""
    whole, steps = read_here(fetched), read_here(fetched, most_records=1)
    for found in ("records", "packed"):
        expected, actual = getattr(whole, found), getattr(steps, found)
        assert [one.offset for one in actual] == [one.offset for one in expected]
        assert [_content(one) for one in actual] == [_content(one) for one in expected]
    assert steps.next_offset == whole.next_offset


def rises(offsets: Sequence[int]) -> bool:
    """Tell whether each offset is above the one before it."""
    return all(one < other for one, other in itertools.pairwise(offsets))


def summarize(outcomes: Counter[str]) -> str:
    """Return the outcomes and how many there were of each."""
    return ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))


def _content(record: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a compiled record
    headers = [(_replaced(_shown(name)), content) for name, content in record.headers]
    return record.timestamp, record.key, record.value, headers


def _shown(name: str) -> bytes:
    return name.encode().decode("utf-8", "replace").encode()


def _replaced(name: bytes) -> bytes:
    """Return a header name in which a run of replacement characters is one of them.

    Java and Python replace what is no UTF-8 by different numbers of them.
    """
    while REPLACEMENT * 2 in name:
        name = name.replace(REPLACEMENT * 2, REPLACEMENT)
    return name
