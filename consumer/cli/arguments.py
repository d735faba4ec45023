"""Command-line options that several commands share. A wrong value gives exit code 2."""

import argparse
from collections.abc import Sequence
from typing import Final

from consumer.config import PREFIX, Settings
from consumer.errors import ConfigError

_TIME_OPTIONS: Final = ("--from", "--to")


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def join_times(arguments: Sequence[str]) -> list[str]:
    """Join ``--from -48h`` to ``--from=-48h``; argparse would read the time as an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _TIME_OPTIONS:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def add_range(parser: argparse.ArgumentParser) -> None:
    """Add the options of a range: ``--from``, ``--to``, ``--allow-truncated``."""
    parser.add_argument(
        "--from",
        dest="starts",
        action="append",
        default=[],
        metavar="WHEN",
        help="inclusive start of the range: RFC 3339, -48h (also s, m, d), epoch milliseconds, or "
        "[topic/]partition:offset. Repeat the option for offsets of several partitions; the "
        "command then reads only these partitions (default: the start of the log)",
    )
    parser.add_argument(
        "--to",
        dest="ends",
        action="append",
        default=[],
        metavar="WHEN",
        help="exclusive end of the range, in the same forms (default: the end of the log when the "
        "command starts)",
    )
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="accept a range in which retention has deleted records; use the records that are left",
    )


def choose_input_topic(settings: Settings, wanted: str | None) -> str:
    """Return the input topic to send to.

    Raises:
        ConfigError: `wanted` is not an input topic, or there are several and `wanted` is None.
    """
    inputs = settings.input_topics
    if wanted is None and len(inputs) > 1:
        raise ConfigError(
            f"there are several input topics; choose one with --topic: {', '.join(inputs)}"
        )
    if wanted is not None and wanted not in inputs:
        raise ConfigError(
            f"--topic: {wanted} is not one of {PREFIX}INPUT_TOPICS ({', '.join(inputs)}); "
            "checkpoints must go to a topic that the service reads"
        )
    return wanted or inputs[0]
