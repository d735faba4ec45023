"""The command `backfill`: sends checkpoints of a file to an input topic."""

import argparse
import sys
from typing import Any, Final

import msgspec

from consumer.cli.arguments import choose_input_topic
from consumer.cli.output import EXIT_OK, silence_logs, write_line, write_result
from consumer.cli.signals import run_async
from consumer.config import Settings
from consumer.errors import CheckpointReadyError
from consumer.jobs.backfill.elements import Rejected
from consumer.jobs.backfill.file import Content, open_content
from consumer.jobs.backfill.job import Backfill, Outcome
from consumer.jobs.backfill.state import BackfillState
from consumer.jobs.progress import ProgressReport
from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.retry import shutdown_on_signals
from consumer.pipeline.printable import printable_line

SHOWN_ON_TERMINAL: Final = 20


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    backfill = commands.add_parser(
        "backfill",
        help="send checkpoints of a file to an input topic; without --execute only a plan",
        description="Sends each checkpoint of a file to an input topic exactly once. The file is "
        "JSON lines or one JSON document. Each line, or the document, is a checkpoint, a list "
        "response or an array of checkpoints. The file may be compressed with gzip or zstd. "
        "Without --execute the command only shows a plan. If a backfill is interrupted, the same "
        "command resumes it.",
    )
    backfill.add_argument("file", metavar="FILE", help="the file, or - for standard input")
    backfill.add_argument("--execute", action="store_true", help="send the checkpoints")
    backfill.add_argument(
        "--topic", help="the input topic to send to; required if INPUT_TOPICS has several"
    )
    backfill.add_argument(
        "--again",
        action="store_true",
        help="send a file even if it was already sent completely; the service drops known ids as "
        "duplicates",
    )
    backfill.set_defaults(command=_backfill)


class _Rejections:
    """Reports rejected elements: the first 20 on a terminal, elsewhere all, as JSON lines."""

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
            print(f"… and {self._count - SHOWN_ON_TERMINAL} more; pipe the output to list all")


def _backfill(settings: Settings, options: argparse.Namespace) -> int:
    silence_logs(settings)
    topic = choose_input_topic(settings, options.topic)
    rejections = _Rejections()
    with open_content(options.file) as content:
        outcome = run_async(_backfill_file(settings, options, content, topic, rejections))
        rejections.summarize()
        name = content.name
    state = outcome.state
    if outcome.forecast is not None:
        _write_plan(name, topic, outcome)
    elif state is not None and not outcome.summary.elements and state.finished:
        _write_sent_before(name, state)
    else:
        _write_done(name, topic, outcome)
    if outcome.summary.elements and not outcome.summary.accepted:
        raise CheckpointReadyError(f"{name} has no element that can be sent")
    return EXIT_OK


async def _backfill_file(
    settings: Settings,
    options: argparse.Namespace,
    content: Content,
    topic: str,
    rejections: _Rejections,
) -> Outcome:
    with shutdown_on_signals() as shutdown:
        backfill = Backfill(
            settings,
            content,
            topic,
            shutdown,
            ProgressReport("backfill", "records", write_line),
            report_rejected=rejections.report,
            again=options.again,
        )
        return await (backfill.run() if options.execute else backfill.plan())


def _write_plan(name: str, topic: str, outcome: Outcome) -> None:
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
        ("  new", facts["new"], "the service will publish them"),
        (
            "  published",
            facts["published"],
            "already published: the service drops them as duplicates",
        ),
        (
            "  repeated",
            facts["repeated"],
            "earlier in the file: the service drops them as duplicates",
        ),
        (
            "  conflicting",
            facts["conflicting"],
            "known id with other content: the service writes dead letters",
        ),
        *((f"rejected: {why}", count, "not sent") for why, count in found.rejected.items()),
    ]
    width = max(len(what) for what, *_ in rows)
    lines = [f"{name} into {topic}:"]
    lines += [f"  {what:<{width}} {count:>11,}  {note}" for what, count, note in rows]
    if state is None:
        lines.append("Nothing was sent. --execute sends the accepted elements.")
    elif state.finished:
        lines.append(
            f"It {_history(state)}. Nothing was sent now; --execute --again sends it again."
        )
    else:
        lines.append(f"It {_history(state)}. Nothing was sent now; --execute resumes it.")
    write_result(facts, "\n".join(lines))


def _write_sent_before(name: str, state: BackfillState) -> None:
    facts = {"event": "sent_before", "file": name, "before": _facts(state), "sent": 0}
    write_result(
        facts, f"{name} {_history(state)}. Nothing was sent now; --again sends all of it again."
    )


def _write_done(name: str, topic: str, outcome: Outcome) -> None:
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
    write_result(
        facts,
        f"{name} into {topic}: {found.accepted:,} accepted, "
        f"{found.elements - found.accepted:,} rejected, {outcome.sent:,} sent{before} "
        f"in {outcome.seconds:.1f} s, {rate:,.0f} records/s",
    )


def _history(state: BackfillState) -> str:
    """Return what a run has sent, who started it and when."""
    if state.finished:
        return (
            f"was sent on {rfc3339_ms(state.updated_at_ms)}, {state.sent:,} records, "
            f"started by {state.started_by}"
        )
    return (
        f"was started on {rfc3339_ms(state.started_at_ms)} by {state.started_by} and has sent "
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
