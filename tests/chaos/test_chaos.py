"""A run of the chaos suite, short enough for every change: the same as `make chaos`."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.chaos import report
from tests.chaos.run import Order, run
from tests.chaos.schedule import Fault, Lane, draw_faults
from tests.support.figures import show

if TYPE_CHECKING:
    from pathlib import Path

SEED = 7
MINUTES = 1.5
RECORDS_PER_SECOND = 400
# A machine as slow as it may be still carries these out in the time.
FEWEST_FAULTS = 6
FEWEST_RECORDS = 10_000


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_brokers")
def test_nothing_is_lost_and_nothing_published_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under faults of three lanes every id is published once, and at the end nothing is open."""
    order = Order(
        minutes=MINUTES,
        seed=SEED,
        records_per_second=RECORDS_PER_SECOND,
        history=tmp_path / "history.jsonl",
        folder=tmp_path,
    )
    result = run(order, lambda _: None)
    show(capsys, report.text(result))
    assert not result.violations, report.text(result)
    assert result.facts["lost"] == result.facts["published_twice"] == 0
    assert result.facts["produced"] >= FEWEST_RECORDS
    assert result.facts["logins_renewed_on_open_connections"] > 0
    carried_out = [one for one in result.outcomes if one.error is None]
    assert len(carried_out) >= FEWEST_FAULTS
    assert {one.fault.lane for one in carried_out} == set(Lane)
    check_history(order)
    shutil.rmtree(tmp_path / "kafka")  # hundreds of megabytes, which tell nothing after a success


def check_history(order: Order) -> None:
    """Check that the history tells the seed, and of each lane what the seed draws, in order."""
    lines = [json.loads(line) for line in order.history.read_text().splitlines()]
    assert lines[0]["event"] == "run"
    assert lines[0]["seed"] == order.seed
    assert [line["event"] for line in lines].count("verdict") == 1
    for lane in Lane:
        begun = [line for line in lines if line["event"] == "fault_begins" and line["lane"] == lane]
        ended = [line for line in lines if line["event"] == "fault_ends" and line["lane"] == lane]
        assert len(begun) == len(ended)
        for line, fault in zip(begun, draw_faults(order.seed, lane), strict=False):
            assert {name: line[name] for name in Fault._fields} == fault._asdict()
