"""Commands that list, show and send back what could not be published."""

from typing import Any


def add_dead_letters(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
