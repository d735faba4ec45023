"""Figures that a test measures on its way: shown, also where pytest captures the output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print past the capture; to standard error, the one way out of modules run side by side."""
    with capsys.disabled():
        print(f"\n  {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is what it is for
