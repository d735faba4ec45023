"""`make cluster-test` on every change, where the programs of a control plane are in the cache."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cluster.report import HEAD, row
from tests.cluster.run import run
from tests.support.figures import show

if TYPE_CHECKING:
    from pathlib import Path

FEWEST_RECORDS = 2000


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("local_brokers")
def test_operators_lose_and_double_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From install to a killed container each step does what it should, under duplicates."""
    report = run(tmp_path, lambda _: None)
    show(capsys, "\n  ".join([HEAD, *map(row, report.steps)]))
    assert report.verdict.lost == report.verdict.published_twice == 0
    assert report.verdict.published == report.verdict.distinct_ids
    assert report.verdict.records > report.verdict.distinct_ids > FEWEST_RECORDS
    for part in ("images", "kafka", "control-plane"):
        shutil.rmtree(tmp_path / part)  # large, and they tell nothing after a success
