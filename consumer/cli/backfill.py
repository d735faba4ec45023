"""The command that feeds checkpoints of the past into the input."""

import argparse
import sys
from typing import Any, Final

import msgspec

from consumer.cli.output import EXIT_OK, say, silence_logs, write_line
from consumer.cli.signals import run_async
from consumer.config import PREFIX, Settings
from consumer.errors import CheckpointReadyError, ConfigError
from consumer.jobs.backfill.elements import Rejected
from consumer.jobs.backfill.file import Content, open_content
from consumer.jobs.backfill.plan import FileSummary
from consumer.jobs.backfill.run import PURPOSE, Backfill, Outcome
from consumer.jobs.backfill.state import BackfillState
from consumer.jobs.context import open_job_context
from consumer.jobs.progress import Display, Goal, display
from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.retry import shutdown_on_signals
from consumer.pipeline.printable import printable_line

SHOWN_ON_TERMINAL: Final = 20


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    backfill = commands.add_parser(
        "backfill",
        help="feed checkpoints of a file into the input; says what it would do until --execute",
        description="Feeds checkpoints of the past into the input, each exactly once: JSON lines "
        "of checkpoints or whole list responses, or one list response or array; also gzip and "
        "zstd. Without --execute it says what it would do. Run again after a crash it goes on.",
    )
    backfill.add_argument("file", metavar="FILE", help="the file, or - for standard input")
    backfill.add_argument("--execute", action="store_true", help="send them")
    backfill.add_argument(
        "--topic", help="the input topic to send to; needed when INPUT_TOPICS names several"
    )
    backfill.add_argument(
        "--again",
        action="store_true",
        help="send also what was sent to its end before; what is published stays published once",
    )
    backfill.set_defaults(command=_backfill)


class _Rejections:
    """Tells what is not sent: a program all of it, a person the first ones."""

    def __init__(self) -> None:
        self._count = 0

    def report(self, rejected: Rejected) -> None:
        self._count += 1
        if not sys.stdout.isatty():
            write_line(msgspec.json.encode({"event": "rejected", **msgspec.to_builtins(rejected)}))
        elif self._count <= SHOWN_ON_TERMINAL:
            index = "" if rejected.index is None else f", element {rejected.index}"
            message = printable_line(rejected.message)
            print(f"line {rejected.line}{index}: {rejected.reason}: {message}")

    def summarize(self) -> None:
        if sys.stdout.isatty() and self._count > SHOWN_ON_TERMINAL:
            print(f"… and {self._count - SHOWN_ON_TERMINAL} more; piped, this command lists all")


def _choose_topic(settings: Settings, wanted: str | None) -> str:
    """Return the input topic to send to.

    Raises:
        ConfigError: it is no input, or there are several to choose from.
    """
    inputs = settings.input_topics
    if wanted is None and len(inputs) > 1:
        raise ConfigError(f"there are several input topics; say --topic: {', '.join(inputs)}")
    if wanted is not None and wanted not in inputs:
        raise ConfigError(
            f"--topic: {wanted} is not one of {PREFIX}INPUT_TOPICS ({', '.join(inputs)}); "
            "a backfill goes to what the service reads"
        )
    return wanted or inputs[0]


def _backfill(settings: Settings, options: argparse.Namespace) -> int:
    silence_logs(settings)
    topic = _choose_topic(settings, options.topic)
    rejections = _Rejections()
    with open_content(options.file) as content:
        outcome = run_async(_work(settings, options, content, topic, rejections))
        rejections.summarize()
        name = content.name
    state = outcome.state
    if outcome.forecast is not None:
        _say_plan(name, topic, outcome)
    elif state is not None and not outcome.summary.elements and state.finished:
        _say_sent_before(name, state)
    else:
        _say_done(name, topic, outcome)
    if outcome.summary.elements and not outcome.summary.accepted:
        raise CheckpointReadyError(f"nothing in {name} can be sent")
    return EXIT_OK


async def _work(
    settings: Settings,
    options: argparse.Namespace,
    content: Content,
    topic: str,
    rejections: _Rejections,
) -> Outcome:
    with shutdown_on_signals() as stop:
        async with open_job_context(settings, PURPOSE) as context:
            backfill = Backfill(context, content, topic, rejections.report, stop)
            if options.execute:
                return await backfill.run(_show, again=options.again)
            return await backfill.plan(await backfill.look())


def _show(found: FileSummary, before: BackfillState | None) -> Display:
    already = before.elements if before else 0
    goal = Goal(found.elements, already)
    return display("backfill", goal, unit="records", write=write_line)


def _say_plan(name: str, topic: str, outcome: Outcome) -> None:
    found, forecast, state = outcome.summary, outcome.forecast, outcome.state
    before = None if state is None else _facts(state)
    facts = {
        "event": "plan",
        "file": name,
        "topic": topic,
        "elements": found.elements,
        "accepted": found.accepted,
        "rejected": found.rejected,
        **msgspec.to_builtins(forecast),
        "before": before,
        "sent": 0,
    }
    rows = [
        ("accepted", found.accepted, f"with {facts['ids']:,} ids"),
        ("  new", facts["new"], "will be published"),
        ("  published", facts["published"], "are published already: dropped as duplicates"),
        ("  repeated", facts["repeated"], "stand in the file before: dropped as duplicates"),
        (
            "  conflicting",
            facts["conflicting"],
            "have other content under a known id: dead letters",
        ),
        *((f"rejected: {why}", count, "not sent") for why, count in found.rejected.items()),
    ]
    width = max(len(what) for what, *_ in rows)
    lines = [f"{name} into {topic}:"]
    lines += [f"  {what:<{width}} {count:>11,}  {note}" for what, count, note in rows]
    if state is None:
        lines.append("Nothing was sent. --execute sends what is accepted.")
    elif state.finished:
        lines.append(f"It {_told(state)}. Nothing was sent now; --execute --again sends it again.")
    else:
        lines.append(f"It {_told(state)}. Nothing was sent now; --execute goes on from there.")
    say(facts, "\n".join(lines))


def _say_sent_before(name: str, state: BackfillState) -> None:
    facts = {"event": "sent_before", "file": name, "before": _facts(state), "sent": 0}
    say(facts, f"{name} {_told(state)}. Nothing was sent now; --again sends all of it once more.")


def _say_done(name: str, topic: str, outcome: Outcome) -> None:
    found, state = outcome.summary, outcome.state
    rate = outcome.sent / outcome.seconds if outcome.seconds else 0.0
    facts = {
        "event": "backfilled",
        "file": name,
        "topic": topic,
        "run": None if state is None else state.run,
        "accepted": found.accepted,
        "rejected": found.rejected,
        "sent": outcome.sent,
        "sent_before": 0 if state is None else state.sent - outcome.sent,
        "seconds": round(outcome.seconds, 3),
        "records_per_second": round(rate),
    }
    before = f" ({facts['sent_before']:,} before)" if facts["sent_before"] else ""
    say(
        facts,
        f"{name} into {topic}: {found.accepted:,} accepted, "
        f"{found.elements - found.accepted:,} rejected, {outcome.sent:,} sent{before} "
        f"in {outcome.seconds:.1f} s, {rate:,.0f} records/s",
    )


def _told(state: BackfillState) -> str:
    """Return how far a run is, by whom and since when."""
    if state.finished:
        return (
            f"was sent on {rfc3339_ms(state.updated_at_ms)}, {state.sent:,} records, "
            f"begun by {state.started_by}"
        )
    return (
        f"was begun on {rfc3339_ms(state.started_at_ms)} by {state.started_by} and has sent "
        f"{state.sent:,} of {state.accepted:,} records"
    )


def _facts(state: BackfillState) -> dict[str, Any]:
    return {
        "run": state.run,
        "finished": state.finished,
        "sent": state.sent,
        "accepted": state.accepted,
        "started_by": state.started_by,
        "started_at": rfc3339_ms(state.started_at_ms),
        "updated_at": rfc3339_ms(state.updated_at_ms),
    }
