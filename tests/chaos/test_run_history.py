"""The history of a run: a file that tells what was drawn, what was met and how it went."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.chaos.fleet import Published
from tests.chaos.report import longest_pause_seconds, times_by_shard
from tests.chaos.run_history import History
from tests.chaos.schedule import Lane, draw_faults

if TYPE_CHECKING:
    from pathlib import Path

ERROR = "ValueError: invalid literal for int() with base 10: 'no such place'"


def test_it_tells_a_fault_that_failed(tmp_path: Path) -> None:
    """A fault's drawn numbers, what was resolved for it and its exception stand in the file."""
    fault = next(draw_faults(7, Lane.BROKERS))
    path = tmp_path / "new" / "history.jsonl"
    with History(path, seed=7) as history, history.fault(fault) as outcome:
        outcome.resolved["node"] = int("2")
        outcome.resolved["place"] = int("no such place")
    history.write("late")  # a thread that has not ended yet
    head, begun, ended = map(json.loads, history.path.read_text().splitlines())
    assert head["event"] == "run"
    assert head["seed"] == 7
    assert fault._asdict().items() <= begun.items()
    assert ended["resolved"] == {"node": 2}
    assert ended["error"] == ERROR
    assert [outcome.error for outcome in history.outcomes] == [ERROR]


def test_a_pause_counts_for_the_faults_that_it_overlaps(tmp_path: Path) -> None:
    """The longest silence of any one shard is found, where it meets the fault and not elsewhere."""
    fault = next(draw_faults(7, Lane.NETWORK))
    with History(tmp_path / "history.jsonl") as history, history.fault(fault) as outcome:
        outcome.resolved["node"] = 2
    outcome.began, outcome.ended = 100.0, 110.0
    stamps = [(0, 50.0), (0, 90.0), (0, 99.0), (0, 104.0), (1, 95.0), (1, 108.0), (1, 140.0)]
    published = [Published(time, shard, 1) for shard, time in stamps]
    assert longest_pause_seconds(outcome, times_by_shard(published)) == 32.0
    outcome.ended = 107.0
    assert longest_pause_seconds(outcome, times_by_shard(published)) == 13.0
