"""Readers of command-line values; each raises what argparse turns into exit code 2."""

import argparse
from collections.abc import Sequence
from typing import Final

_MAY_BEGIN_WITH_A_DASH: Final = ("--from", "--to")


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def join_times(arguments: Sequence[str]) -> list[str]:
    """Join ``--from -48h`` to ``--from=-48h``: argparse would take the time for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _MAY_BEGIN_WITH_A_DASH:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def add_range(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a resolved of history."""
    parser.add_argument(
        "--from",
        dest="starts",
        action="append",
        default=[],
        metavar="WHEN",
        help="the first record meant: RFC 3339, -48h (also s, m, d), epoch milliseconds, or "
        "[topic/]partition:offset, which may be given for several partitions and then means only "
        "those; default: the oldest that is there",
    )
    parser.add_argument(
        "--to",
        dest="ends",
        action="append",
        default=[],
        metavar="WHEN",
        help="the first record not meant any more; default: the end as it is at the start",
    )
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="take what is still there of a range whose beginning retention has deleted",
    )
