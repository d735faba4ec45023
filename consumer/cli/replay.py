"""Commands that publish ready events of the past again."""

from typing import Any


def add_replay(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
