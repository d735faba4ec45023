"""The tools that every test of the chart runs."""

from __future__ import annotations

import pytest

from dev.chart_fetching import ChartToolMissing
from dev.chart_tools import fetch_all


@pytest.fixture(scope="session", autouse=True)
def chart_tools() -> None:
    """Provide Helm, promtool and the CRDs. `make test` downloads them first."""
    try:
        fetch_all()
    except ChartToolMissing as error:
        pytest.skip(str(error))
