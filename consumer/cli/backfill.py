"""The command that feeds checkpoints of the past into the input."""

from typing import Any


def add_backfill(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
