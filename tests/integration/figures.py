"""Figures that a test measures on its way: shown, also where pytest captures the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print one line past the capture."""
    with capsys.disabled():
        print(f"\n  {text}")  # noqa: T201 - this is what it is for
