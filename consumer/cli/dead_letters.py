"""The command `dead-letters`: lists, shows and redrives dead letters."""

import argparse
import sys
import time
from collections import Counter
from contextlib import aclosing
from typing import Any, Final

import msgspec
from rich.console import Console

from consumer.cli.arguments import add_range, positive
from consumer.cli.dead_letters_text import (
    counts_text,
    dead_letters_table,
    details,
    details_text,
    left_out_text,
)
from consumer.cli.output import (
    EXIT_OK,
    silence_logs,
    write_bytes,
    write_line,
    write_message,
    write_result,
)
from consumer.cli.signals import run_async
from consumer.config import Settings
from consumer.errors import ConfigError
from consumer.jobs.context import open_job_context
from consumer.jobs.progress import ProgressReport
from consumer.jobs.ranges import parse_range
from consumer.jobs.redrive.dead_letters import (
    DeadLetterCounts,
    DeadLetterFilter,
    find_dead_letter,
    find_dead_letters,
    list_entry,
    parse_address,
    parse_origin,
    read_redriven,
    resolve_dead_letters,
)
from consumer.jobs.redrive.decider import Exclusion, RedriveCounts
from consumer.jobs.redrive.job import Redrive
from consumer.jobs.redrive.redriven_set import StoredRecord
from consumer.jobs.retry import shutdown_on_signals
from consumer.kafka.clock import wall_clock_ms
from consumer.pipeline.printable import printable
from consumer.pipeline.records import Reason

TABLE_ROWS: Final = 200
CONFLICTING_DUPLICATES_DROPPED: Final = (
    "the service drops redriven conflicting duplicates while it remembers the published "
    "content: for ever, or for its dedup window"
)


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    family = commands.add_parser("dead-letters", help="list, show and redrive dead letters")
    actions = family.add_subparsers(required=True, metavar="ACTION")

    list_parser = actions.add_parser("list", help="list dead letters, one per line")
    _add_filters(list_parser)
    list_parser.add_argument(
        "--summary",
        action="store_true",
        help="count the dead letters by reason and topic of origin, and do not list them",
    )
    list_parser.add_argument(
        "--max",
        type=positive,
        dest="max_lines",
        metavar="N",
        help=f"maximum number of lines (default on a terminal: {TABLE_ROWS})",
    )
    list_parser.set_defaults(command=_list)

    show = actions.add_parser("show", help="show one dead letter completely")
    show.add_argument("address", metavar="PARTITION:OFFSET", help="an address, as `list` shows it")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="show key and value as hex digits")
    form.add_argument("--raw", action="store_true", help="write only the bytes of the value")
    show.set_defaults(command=_show)

    redrive = actions.add_parser(
        "redrive",
        help="send dead letters to their input topics again; without --execute only a plan",
    )
    _add_filters(redrive)
    redrive.add_argument(
        "--max-attempts",
        type=positive,
        metavar="N",
        help="leave out dead letters that were redriven N times or more and failed again",
    )
    redrive.add_argument("--execute", action="store_true", help="send the dead letters")
    redrive.set_defaults(command=_redrive)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason",
        action="append",
        default=[],
        type=str.lower,
        choices=[reason.value for reason in Reason],
        help="only dead letters with this reason; may be given several times",
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="TOPIC[/PARTITION[:OFFSET]]",
        help="only dead letters with this origin; may be given several times",
    )
    add_range(parser)


def _filter(options: argparse.Namespace) -> DeadLetterFilter:
    return DeadLetterFilter(
        parse_range(options.starts, options.ends, wall_clock_ms()),
        options.allow_truncated,
        frozenset(map(Reason, options.reason)),
        tuple(map(parse_origin, options.origin)),
    )


def _list(settings: Settings, options: argparse.Namespace) -> int:
    wanted = _filter(options)
    silence_logs(settings)
    run_async(_list_dead_letters(settings, options, wanted))
    return EXIT_OK


async def _list_dead_letters(
    settings: Settings, options: argparse.Namespace, wanted: DeadLetterFilter
) -> None:
    on_terminal = sys.stdout.isatty()
    max_lines = options.max_lines or (TABLE_ROWS if on_terminal and not options.summary else None)
    rows: list[dict[str, Any]] = []
    counts, is_more = DeadLetterCounts(), False
    async with open_job_context(settings, "dead-letters") as context:
        resolved = await resolve_dead_letters(context, wanted)
        redriven = await read_redriven(context)
        async with aclosing(find_dead_letters(context, resolved, wanted, redriven)) as selected:
            async for stored in selected:
                if counts.dead_letters + counts.foreign == max_lines:
                    is_more = True
                    break
                counts.add(stored.dead_letter)
                if options.summary:
                    continue
                if on_terminal:
                    rows.append(list_entry(stored))
                else:
                    write_line(msgspec.json.encode(list_entry(stored)))
    if options.summary:
        facts = {
            "dead_letters": counts.dead_letters,
            "foreign": counts.foreign,
            "by": counts.facts(),
        }
        write_result(facts, counts_text(counts))
    elif on_terminal:
        Console().print(dead_letters_table(rows, is_more=is_more))


def _show(settings: Settings, options: argparse.Namespace) -> int:
    partition, offset = parse_address(options.address)
    silence_logs(settings)
    stored = run_async(_find(settings, partition, offset))
    if options.raw:
        _write_raw(stored)
        return EXIT_OK
    shown = details(stored, settings.dead_letter_topic, as_hex=options.hex)
    write_result(shown, details_text(shown))
    return EXIT_OK


async def _find(settings: Settings, partition: int, offset: int) -> StoredRecord:
    async with open_job_context(settings, "dead-letters") as context:
        return await find_dead_letter(context, partition, offset)


def _write_raw(stored: StoredRecord) -> None:
    dead_letter, value = stored.dead_letter, stored.record.value
    if value is None:
        write_message(f"{stored.address} has no value: it is null")
    elif dead_letter is not None and dead_letter.whole_value is not None:
        size_bytes = dead_letter.whole_value.size_bytes
        write_message(f"{stored.address} is truncated: it has {len(value)} of {size_bytes} bytes")
    content = value or b""
    shown = printable(content.decode("utf-8", "backslashreplace")).encode()
    if sys.stdout.isatty() and shown != content:
        raise ConfigError(
            f"the value of {stored.address} has control characters, which this terminal would "
            "execute: redirect the output to a file or a pipe, or omit --raw"
        )
    write_bytes(content)


def _redrive(settings: Settings, options: argparse.Namespace) -> int:
    wanted = _filter(options)
    silence_logs(settings)
    if options.execute:
        run_async(_execute(settings, wanted, options.max_attempts))
    else:
        run_async(_plan(settings, wanted, options.max_attempts))
    return EXIT_OK


async def _plan(settings: Settings, wanted: DeadLetterFilter, max_attempts: int | None) -> None:
    with shutdown_on_signals() as shutdown:
        counts = await Redrive(settings, wanted, max_attempts, shutdown, _progress()).plan()
    notes = _notes(settings, counts)
    facts = {
        "event": "plan",
        "redrive": counts.redriven.dead_letters,
        **counts.facts(),
        "notes": notes,
    }
    text = [
        f"would redrive {counts.redriven.dead_letters} dead letters",
        counts_text(counts.redriven),
        left_out_text(counts),
        *notes,
        "nothing was changed; --execute sends the dead letters",
    ]
    write_result(facts, "\n".join(filter(None, text)))


async def _execute(settings: Settings, wanted: DeadLetterFilter, max_attempts: int | None) -> None:
    began = time.monotonic()
    with shutdown_on_signals() as shutdown:
        counts = await Redrive(settings, wanted, max_attempts, shutdown, _progress()).run()
    seconds = round(time.monotonic() - began, 1)
    notes = _notes(settings, counts)
    facts = {
        "event": "redriven",
        "redriven": counts.redriven.dead_letters,
        **counts.facts(),
        "notes": notes,
        "seconds": seconds,
    }
    text = [
        f"redriven: {counts.redriven.dead_letters} dead letters in {seconds} s",
        counts_text(counts.redriven),
        left_out_text(counts),
        *notes,
    ]
    write_result(facts, "\n".join(filter(None, text)))


def _progress() -> ProgressReport:
    return ProgressReport("redrive", "records", write_line)


def _notes(settings: Settings, counts: RedriveCounts) -> list[str]:
    """Return notes on dead letters that need the attention of an operator."""
    notes = []
    if counts.origins_not_input:
        topics = ", ".join(sorted(counts.origins_not_input))
        notes.append(
            f"dead letters from {topics} are not redriven: CHECKPOINT_READY_INPUT_TOPICS is "
            f"{','.join(settings.input_topics)}"
        )
    conflicting = Counter(reason for reason, _ in counts.redriven.by_reason_and_topic.elements())
    if conflicting[Reason.CONFLICTING_DUPLICATE.value]:
        notes.append(CONFLICTING_DUPLICATES_DROPPED)
    if counts.left_out[Exclusion.CONFLICTING_DUPLICATE]:
        notes.append("conflicting duplicates are redriven only with --reason conflicting_duplicate")
    return notes
