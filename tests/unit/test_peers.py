"""The comparison with peers calculates its figures correctly, and the document shows them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec
import pytest

from bench.peers.broker import WrittenBytes
from bench.peers.contenders.catalogue import (
    CONTENDERS,
    DEFAULT,
    DEFAULT_LATENCY,
    NO_CONTENDER,
    PIPELINE,
    REFERENCES,
)
from bench.peers.contenders.contender import Delivery
from bench.peers.report import Comparison, Latencies, latency_table, rows, table
from bench.peers.sampling import interpolated
from bench.peers.throughput import Part, RunFigures
from bench.peers.verification import Output, Verdict
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Verdict(
    records=700,
    distinct_ids=700,
    missing_ids=0,
    published_twice=0,
    unknown_ids=0,
    dead_letters=0,
)


def figures(contender: str, number: int, seconds: float, problem: str = "") -> RunFigures:
    """Return the figures of a run whose second half took this time."""
    half = Part(events=500, seconds=seconds, cpu_seconds=seconds / 2, broker_cpu_seconds=1)
    return RunFigures(
        contender=contender,
        round=number,
        events=1000,
        distinct_ids=700,
        whole=half,
        second_half=half,
        start_seconds=1,
        cpu_seconds_from_start=1,
        peak_memory_mib=100,
        written_bytes_per_event=900,
        written_bytes={},
        verdict=GOOD,
        problem=problem,
        load_average=0,
    )


def test_ratios_compare_medians_with_the_better_reference() -> None:
    """The median of the rounds is divided by that of the faster Kafka Streams."""
    runs = [figures("service", number, seconds) for number, seconds in enumerate((1.0, 2.0, 4.0))]
    runs += [figures("streams", 1, 5.0), figures("streams-tuned", 1, 4.0, "2 ids are missing")]
    service, _, tuned = rows(CONTENDERS, runs)
    rate = service.figures["second_half_events_per_second"]
    assert (rate.median, rate.least, rate.most) == (250, 125, 500)
    assert (service.ratio_wall, service.ratio_cpu) == (2, 2)
    assert tuned.problems == ["2 ids are missing"]


def test_a_value_between_two_samples_is_interpolated() -> None:
    """Times before the first and after the last sample have the values of those."""
    times, values = [10.0, 12.0, 13.0], [1.0, 3.0, 3.5]
    assert [interpolated(times, values, at) for at in (9, 10, 11, 12.5, 14)] == [1, 1, 2, 3.25, 3.5]


def test_events_that_were_appended_at_the_beginning_of_a_part_do_not_count() -> None:
    """Their work is before the part."""
    output = Output(GOOD, array("q", [1000, 1000, 1000, 1500, 2000]))
    assert output.appended_at(0) == 1
    assert output.appended_at(1) == 2
    assert output.share_after(1) == pytest.approx(0.4)


def test_a_broken_promise_is_a_problem() -> None:
    """A contender that copies every record may repeat ids. No contender may lose one."""
    twice = msgspec.structs.replace(GOOD, published_twice=3)
    assert not GOOD.problem(Delivery.EACH_ID_ONCE)
    assert twice.problem(Delivery.EACH_ID_ONCE) == "3 ids are published twice or more"
    assert not twice.problem(Delivery.EVERY_RECORD)
    lost = msgspec.structs.replace(GOOD, missing_ids=1)
    assert lost.problem(Delivery.EVERY_RECORD) == "1 ids are missing"


def test_deleted_and_compacted_segments_still_count(tmp_path: Path) -> None:
    """The bytes of a topic are those that were appended, not those that are left."""
    segments = [tmp_path / "orders-0" / "0.log", tmp_path / "orders-1" / "0.log"]
    for segment in (*segments, tmp_path / "input-0" / "0.log"):
        segment.parent.mkdir()
        segment.write_bytes(b"x" * 10)
    written = WrittenBytes(tmp_path, "input")
    segments[0].write_bytes(b"x" * 25)
    segments[1].write_bytes(b"x" * 30)
    written.update()
    segments[0].unlink()
    segments[1].write_bytes(b"x" * 5)
    written.update()
    assert written.by_topic() == {"orders": 35}


def test_defaults_and_references_are_contenders() -> None:
    """Each name in the catalogue is that of a contender, and no name occurs twice."""
    names = [contender.name for contender in (NO_CONTENDER, *CONTENDERS)]
    assert len(set(names)) == len(names)
    named = {*DEFAULT, *DEFAULT_LATENCY, *(name for some in REFERENCES.values() for name in some)}
    assert named <= {*names, PIPELINE}


def test_the_document_shows_the_stored_figures() -> None:
    """The tables of docs/performance.md are those of the stored figures."""
    document = (ROOT / "docs/performance.md").read_text()
    comparison = msgspec.json.decode((ROOT / "docs/peers.json").read_bytes(), type=Comparison)
    latencies = msgspec.json.decode((ROOT / "docs/peer-latency.json").read_bytes(), type=Latencies)
    assert table(comparison).within(document) == document
    assert latency_table(latencies).within(document) == document
