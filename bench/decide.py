"""Measures the pipeline without Kafka on one core: the upper limit of throughput."""

import gc
import time

from consumer.pipeline.decider import Decider, Decision, apply
from consumer.pipeline.records import Limits, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from tests.builders import Record
from tests.support.records import realistic_checkpoint as checkpoint

CHUNK = 500
BEST_OF = 5
LIMIT_BYTES = 1_114_124


def measure_decide(*, events: int) -> dict[str, object]:
    """Return events per second of decode, dedup, enrich and encode, in the fastest round."""
    records = [
        Record(number, 1_700_000_000_000 + number, None, checkpoint(f"ftckpt_{number:024d}", 1), [])
        for number in range(events)
    ]
    settings = ShardSettings(0, 1, "bench", Limits(LIMIT_BYTES, LIMIT_BYTES, LIMIT_BYTES))
    best_seconds = float("inf")
    for _ in range(BEST_OF):
        seen = SeenIds(0)
        decider = Decider(settings, seen)
        gc.collect()
        began = time.perf_counter()
        for start in range(0, events, CHUNK):
            decision = Decision()
            batch = SourceBatch("in", 0, records[start : start + CHUNK], forwarded=False)
            decider.decide(batch, decision, 2**62)
            apply(seen, decision)
        best_seconds = min(best_seconds, time.perf_counter() - began)
    return {
        "measure": "decide",
        "path": "new ids at home, no Kafka",
        "source_events": events,
        "microseconds_per_event": round(best_seconds / events * 1e6, 2),
        "events_per_second": round(events / best_seconds),
    }
