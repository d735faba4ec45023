"""The command `subscribers`: who reads the ready topic, and whether a subscriber reads committed.

`list` shows the consumer groups with their unread events. `check` writes an event of a reserved
type that only a subscriber without ``isolation.level=read_committed`` receives.
"""

import argparse
import sys
from typing import Any, Final

import msgspec
from rich.console import Console

from consumer.cli.output import EXIT_OK, silence_logs, write_line, write_message, write_result
from consumer.cli.signals import run_async
from consumer.cli.subscribers_check import MAX_HOLD_SECONDS, CheckOptions, CheckResult, run_check
from consumer.cli.subscribers_list import list_subscribers, subscribers_tables
from consumer.config import Settings
from consumer.errors import ConfigError

EXIT_INCOMPLETE: Final = 1
FILTERED: Final = "--all-subscribers-filter-by-type"
COMMITTED_IS_DANGEROUS: Final = (
    "--committed publishes the event to every subscriber. A subscriber that does not filter by "
    f"`type` can fail on it, and fail again after each restart. Add {FILTERED} if every subscriber "
    "ignores the types that it does not know"
)
HOLD_NEEDS_ABORT: Final = (
    "--hold and --committed exclude each other: the committed event says nothing about groups"
)


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    subscribers = commands.add_parser(
        "subscribers", help="list the subscribers, or check whether one reads committed"
    )
    actions = subscribers.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="write an aborted event that only subscribers without read_committed receive",
    )
    check.add_argument(
        "--partition",
        type=_partition,
        action="append",
        default=[],
        metavar="N",
        help="write to this partition of the ready topic only; can be repeated (default: all)",
    )
    check.add_argument(
        "--hold",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="keep the transaction open for this time, at most 10 s, and name the consumer groups "
        "whose committed offset passes it: these read uncommitted. Meanwhile subscribers with "
        "read_committed wait on these partitions (default: 0)",
    )
    check.add_argument(
        "--committed",
        action="store_true",
        help=f"publish the event instead of aborting it, to test that a subscriber logs it; needs "
        f"{FILTERED}",
    )
    check.add_argument(
        FILTERED,
        action="store_true",
        help="confirm that each subscriber ignores events of other types",
    )
    check.set_defaults(command=_check)
    listing = actions.add_parser(
        "list", help="list the consumer groups of the ready topic with their unread events"
    )
    listing.add_argument("--json", action="store_true", help="write JSON even on a terminal")
    listing.set_defaults(command=_list)


def _partition(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_HOLD_SECONDS:
        raise argparse.ArgumentTypeError(f"must be 0 to {MAX_HOLD_SECONDS:g} s, not {text!r}")
    return seconds


def _check(settings: Settings, options: argparse.Namespace) -> int:
    if options.committed and not options.all_subscribers_filter_by_type:
        raise ConfigError(COMMITTED_IS_DANGEROUS)
    if options.committed and options.hold:
        raise ConfigError(HOLD_NEEDS_ABORT)
    silence_logs(settings)
    chosen = CheckOptions(tuple(options.partition), options.hold, options.committed)
    result = run_async(run_check(settings, chosen))
    write_result(msgspec.to_builtins(result), check_text(result))
    for problem in (result.broker_problem, result.groups_problem):
        if problem:
            write_message(problem)
    return EXIT_INCOMPLETE if result.broker_problem or result.groups_problem else EXIT_OK


def check_text(result: CheckResult) -> str:
    """Return the result of a check as text: what was written, and what to look for."""
    written = "published" if result.committed else "written and aborted"
    lines = [f"{result.check}: one event on each of these partitions of {result.topic}, {written}"]
    lines += [f"  partition {event.partition}, offset {event.offset}" for event in result.events]
    lines += [
        f"Look for {result.check} (type {result.type}) in the logs of your subscriber until it has",
        "read past these offsets. `checkpoint-ready subscribers list` shows how far it has read.",
    ]
    if result.committed:
        lines.append("A subscriber that shows it would also show an aborted check, if it read one.")
    else:
        lines += [
            "A subscriber that shows it does not read with isolation.level=read_committed.",
            "If it shows nothing, test with --committed whether it would show such an event.",
        ]
    if result.reads_uncommitted is not None:
        named = ", ".join(result.reads_uncommitted)
        lines.append(
            f"These groups read uncommitted: {named}"
            if named
            else "No group passed the open transaction. This is no proof that all read committed."
        )
    return "\n".join(lines)


def _list(settings: Settings, options: argparse.Namespace) -> int:
    silence_logs(settings)
    found = run_async(list_subscribers(settings))
    if sys.stdout.isatty() and not options.json:
        for table in subscribers_tables(found):
            Console().print(table)
    else:
        write_line(msgspec.json.encode(found))
    if found.other_types:
        named = ", ".join(sorted(found.other_types))
        write_message(f"not examined, because they are share groups: {named}")
    if found.problem:
        write_message(found.problem)
    return EXIT_INCOMPLETE if found.problem else EXIT_OK
