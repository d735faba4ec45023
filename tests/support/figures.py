"""Figures that a test measures, shown although pytest captures the output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print to standard error without capture: the only output of parallel pytest workers."""
    with capsys.disabled():
        print(f"\n  {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is what it is for
