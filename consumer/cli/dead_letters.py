"""Commands that list, show and send back what could not be published."""

import argparse
import sys
import time
from collections import Counter
from contextlib import aclosing
from typing import Any, Final

import msgspec
from rich.console import Console

from consumer.cli.arguments import add_range, positive
from consumer.cli.formatting import counts_text, details, details_text, left_out_text, letters_table
from consumer.cli.output import EXIT_OK, complain, say, silence_logs, write_bytes, write_line
from consumer.cli.signals import run_async
from consumer.config import Settings
from consumer.errors import ConfigError
from consumer.jobs.context import open_job_context
from consumer.jobs.ranges import parse_range
from consumer.jobs.redrive.plan import LeftOut, RedriveCounts, plan_redrive
from consumer.jobs.redrive.run import PURPOSE, Redrive
from consumer.jobs.redrive.selection import (
    Counted,
    Found,
    Wanted,
    find_letter,
    find_letters,
    parse_address,
    parse_origin,
    read_ledger,
    resolve_letters,
    summary,
)
from consumer.jobs.retry import shutdown_on_signals
from consumer.kafka.clock import wall_clock_ms
from consumer.pipeline.printable import printable
from consumer.pipeline.records import Reason

TABLE_ROWS: Final = 200


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    family = commands.add_parser("dead-letters", help="list, show and send back dead letters")
    actions = family.add_subparsers(required=True, metavar="ACTION")

    list_parser = actions.add_parser("list", help="list dead letters, a line each")
    _add_filters(list_parser)
    list_parser.add_argument(
        "--summary", action="store_true", help="count them by reason and topic of origin instead"
    )
    list_parser.add_argument(
        "--max",
        type=positive,
        dest="most",
        metavar="N",
        help=f"end after this many; on a terminal {TABLE_ROWS} unless told",
    )
    list_parser.set_defaults(command=_list)

    show = actions.add_parser("show", help="show one dead letter whole")
    show.add_argument("address", metavar="PARTITION:OFFSET", help="as `list` shows it")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="show key and value as hex digits")
    form.add_argument("--raw", action="store_true", help="write the bytes of the value, no more")
    show.set_defaults(command=_show)

    redrive = actions.add_parser(
        "redrive", help="put dead letters back to their input; plans unless told to act"
    )
    _add_filters(redrive)
    redrive.add_argument(
        "--max-attempts",
        type=positive,
        metavar="N",
        help="leave out what has failed again after so many redrives",
    )
    redrive.add_argument("--execute", action="store_true", help="act; without it only plan")
    redrive.set_defaults(command=_redrive)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason",
        action="append",
        default=[],
        type=str.lower,
        choices=[reason.value for reason in Reason],
        help="only these; may be given several times",
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="TOPIC[/PARTITION[:OFFSET]]",
        help="only what came from there; may be given several times",
    )
    add_range(parser)


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        parse_range(options.starts, options.ends, wall_clock_ms()),
        options.allow_truncated,
        frozenset(map(Reason, options.reason)),
        tuple(map(parse_origin, options.origin)),
    )


def _list(settings: Settings, options: argparse.Namespace) -> int:
    wanted = _wanted(options)
    silence_logs(settings)
    run_async(_list_letters(settings, options, wanted))
    return EXIT_OK


async def _list_letters(settings: Settings, options: argparse.Namespace, wanted: Wanted) -> None:
    on_terminal = sys.stdout.isatty()
    most = options.most or (TABLE_ROWS if on_terminal and not options.summary else None)
    rows: list[dict[str, Any]] = []
    counted, is_more = Counted(), False
    async with open_job_context(settings, "dead-letters") as context:
        resolved = await resolve_letters(context, wanted)
        redriven = await read_ledger(context)
        async with aclosing(find_letters(context, resolved, wanted, redriven)) as letters:
            async for found in letters:
                if counted.letters + counted.foreign == most:
                    is_more = True
                    break
                counted.count(found.letter)
                if options.summary:
                    continue
                if on_terminal:
                    rows.append(summary(found))
                else:
                    write_line(msgspec.json.encode(summary(found)))
    if options.summary:
        facts = {"dead_letters": counted.letters, "foreign": counted.foreign, "by": counted.facts()}
        say(facts, counts_text(counted))
    elif on_terminal:
        Console().print(letters_table(rows, is_more=is_more))


def _show(settings: Settings, options: argparse.Namespace) -> int:
    partition, offset = parse_address(options.address)
    silence_logs(settings)
    found = run_async(_find(settings, partition, offset))
    if options.raw:
        _write_raw(found)
        return EXIT_OK
    shown = details(found, settings.dead_letter_topic, as_hex=options.hex)
    say(shown, details_text(shown))
    return EXIT_OK


async def _find(settings: Settings, partition: int, offset: int) -> Found:
    async with open_job_context(settings, "dead-letters") as context:
        return await find_letter(context, partition, offset)


def _write_raw(found: Found) -> None:
    letter, value = found.letter, found.record.value
    if value is None:
        complain(f"{found.address} has no value: it is null")
    elif letter is not None and letter.whole_value is not None:
        size_bytes = letter.whole_value.size_bytes
        complain(f"{found.address} is cut: {len(value)} bytes of {size_bytes} are there")
    content = value or b""
    shown = printable(content.decode("utf-8", "backslashreplace")).encode()
    if sys.stdout.isatty() and shown != content:
        raise ConfigError(
            f"the value of {found.address} has control characters, which this terminal would "
            "obey: send the output to a file or a pipe, or leave --raw out"
        )
    write_bytes(content)


def _redrive(settings: Settings, options: argparse.Namespace) -> int:
    wanted = _wanted(options)
    silence_logs(settings)
    if options.execute:
        run_async(_execute(settings, wanted, options.max_attempts))
    else:
        run_async(_plan(settings, wanted, options.max_attempts))
    return EXIT_OK


async def _plan(settings: Settings, wanted: Wanted, max_attempts: int | None) -> None:
    async with open_job_context(settings, PURPOSE) as context:
        counts = await plan_redrive(context, wanted, max_attempts)
    notes = _notes(settings, counts)
    facts = {"event": "plan", "redrive": counts.redriven.letters, **counts.facts(), "notes": notes}
    text = [
        f"would put back {counts.redriven.letters} dead letters",
        counts_text(counts.redriven),
        left_out_text(counts),
        *notes,
        "nothing was changed; --execute acts",
    ]
    say(facts, "\n".join(filter(None, text)))


async def _execute(settings: Settings, wanted: Wanted, max_attempts: int | None) -> None:
    began = time.monotonic()
    async with open_job_context(settings, PURPOSE) as context:
        with shutdown_on_signals() as stop:
            counts = await Redrive(context, wanted, max_attempts, stop).run(write_line)
    seconds = round(time.monotonic() - began, 1)
    notes = _notes(settings, counts)
    facts = {
        "event": "redriven",
        "redriven": counts.redriven.letters,
        **counts.facts(),
        "notes": notes,
        "seconds": seconds,
    }
    text = [
        f"put back {counts.redriven.letters} dead letters in {seconds} s",
        counts_text(counts.redriven),
        left_out_text(counts),
        *notes,
    ]
    say(facts, "\n".join(filter(None, text)))


def _notes(settings: Settings, counts: RedriveCounts) -> list[str]:
    """Return what a person should know about these dead letters."""
    notes = []
    if counts.no_inputs:
        topics = ", ".join(sorted(counts.no_inputs))
        notes.append(
            f"not put back, since CHECKPOINT_READY_INPUT_TOPICS is "
            f"{','.join(settings.input_topics)}: what came from {topics}"
        )
    conflicting = Counter(reason for reason, _ in counts.redriven.by.elements())
    if conflicting[Reason.CONFLICTING_DUPLICATE.value]:
        notes.append(
            "conflicting duplicates are dropped as duplicates again for as long as the service "
            "remembers their content: for ever, or for its dedup window"
        )
    if counts.left_out[LeftOut.CONFLICTING_DUPLICATE]:
        notes.append("conflicting duplicates go back only with --reason conflicting_duplicate")
    return notes
