"""Measures the table of seen ids by itself: the compiled one, and the pure-Python one.

Each measurement runs in a process of its own, because its memory is that of the process.
"""

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from consumer.pipeline.digest_table import (
    IMPLEMENTATION,
    KEY_BYTES,
    DigestTable,
    PurePythonDigestTable,
)

BATCH_KEYS: Final = 10_000
LOOKUPS: Final = 100_000
VALUE_BYTES: Final = 16
PAGE_BYTES: Final = 4096
NANOSECONDS: Final = 1e9


def measure_table(*, ids: int) -> Iterator[dict[str, object]]:
    """Yield the figures of each implementation that this install has."""
    names = [IMPLEMENTATION] if IMPLEMENTATION == "pure Python" else [IMPLEMENTATION, "pure Python"]
    for name in names:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            yield {"measure": "table", "implementation": name, "ids": ids} | process.apply(
                _measure, (name, ids)
            )


def _measure(name: str, ids: int) -> dict[str, object]:
    table = (
        PurePythonDigestTable(VALUE_BYTES) if name == "pure Python" else DigestTable(VALUE_BYTES)
    )
    put_seconds = 0.0
    before_bytes = _resident_bytes()
    for keys in _batches(1, ids):
        began = time.process_time()
        table.put_all(keys, keys)
        put_seconds += time.process_time() - began
    grown_bytes = _resident_bytes() - before_bytes
    known, unknown = (
        [key for batch in _batches(seed, min(ids, LOOKUPS)) for key in batch] for seed in (1, 2)
    )
    random.Random(3).shuffle(known)
    return {
        "ns_per_put_in_batch": round(put_seconds / ids * NANOSECONDS),
        "ns_per_get_of_known": _ns_per_get(table.get, known),
        "ns_per_get_of_unknown": _ns_per_get(table.get, unknown),
        "resident_bytes_per_id": round(grown_bytes / ids, 1),
    }


def _batches(seed: int, ids: int) -> Iterator[list[bytes]]:
    """Yield the keys in batches, as a restore reads them."""
    draw = random.Random(seed)
    for begin in range(0, ids, BATCH_KEYS):
        packed = draw.randbytes(KEY_BYTES * min(BATCH_KEYS, ids - begin))
        yield [packed[at : at + KEY_BYTES] for at in range(0, len(packed), KEY_BYTES)]


def _ns_per_get(get: Callable[[bytes], bytes | None], keys: list[bytes]) -> int:
    began = time.process_time()
    for key in keys:
        get(key)
    return round((time.process_time() - began) / len(keys) * NANOSECONDS)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
