"""The command `tail`: shows ready events, as a live table on a terminal, else as JSON lines."""

import argparse
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from enum import Enum, auto
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from consumer.cli.arguments import positive
from consumer.cli.output import EXIT_OK, silence_logs, write_line
from consumer.cli.signals import run_async
from consumer.cli.tables import Columns, add_row, one_line_table
from consumer.config import Settings
from consumer.errors import ClusterError
from consumer.jobs.held_back import HeldBackWarning, warn_of_held_back
from consumer.kafka.client import AioKafka
from consumer.kafka.port import LogReader
from consumer.kafka.read import read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord
from schemas.ready_event import READY_TYPE, ReadyEvent

FETCH_MS: Final = 200
FETCH_RECORDS: Final = 500
COLUMNS: Final[Columns] = (
    ("created", 20, 0),
    ("job", 10, 2),
    ("step", 6, 0),
    ("model", 16, 4),
    ("loss", 7, 0),
    ("id", 10, 2),
)
MAX_ROWS: Final = 20
MAX_CELL_CHARS: Final = 200
ATTRIBUTE: Final = "ce_"
_decode_event = msgspec.json.Decoder(ReadyEvent).decode


class Period(Enum):
    """Which events the command shows, relative to its start."""

    FUTURE = auto()
    PAST = auto()
    PAST_AND_FUTURE = auto()


async def tail(
    settings: Settings,
    write: Callable[[bytes], None],
    *,
    period: Period,
    max_events: int | None,
    live_table: bool,
) -> None:
    """Show ready events until ``max_events`` are shown, or until a signal.

    For ``Period.PAST`` also stop when all existing events are shown.

    Raises:
        ClusterError: the ready topic cannot be read.
    """
    show = _show_table if live_table else _show_lines
    async with aclosing(_events(settings, period)) as events:
        await show(events, write, max_events)


async def _show_lines(
    events: AsyncIterator[bytes], write: Callable[[bytes], None], max_events: int | None
) -> None:
    shown = 0
    async for event in events:
        write(event)
        shown += 1
        if shown == max_events:
            return


async def _show_table(
    events: AsyncIterator[bytes], _: Callable[[bytes], None], max_events: int | None
) -> None:
    rows: deque[ReadyEvent] = deque(maxlen=MAX_ROWS)
    shown = 0
    with Live(_table(rows, 0), console=Console(), refresh_per_second=8) as live:
        async for event in events:
            rows.append(_decode_event(event))
            shown += 1
            live.update(_table(rows, shown))
            if shown == max_events:
                return


async def _events(settings: Settings, period: Period) -> AsyncGenerator[bytes, None]:
    """Yield committed ready events as structured JSON; within a partition, in offset order."""
    kafka = AioKafka.of(settings)
    admin = kafka.admin(f"{settings.group_id}-tail")
    try:
        await admin.start()
        topics = await admin.describe([settings.output_topic])
    finally:
        await admin.close()
    if settings.output_topic not in topics:
        raise ClusterError(
            f"topic {settings.output_topic} does not exist: correct CHECKPOINT_READY_OUTPUT_TOPIC "
            "or run `checkpoint-ready topics create`"
        )
    topic = topics[settings.output_topic]
    partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    reader = kafka.reader(
        f"{settings.group_id}-tail",
        topics=[topic.name],
        max_message_bytes=topic.max_message_bytes,
    )
    try:
        await reader.start()
        async with aclosing(_records(reader, partitions, period)) as found:
            async for records in found:
                for event in map(structured, records):
                    if event is not None:
                        yield event
    finally:
        await reader.close()


async def _records(
    reader: LogReader, partitions: Sequence[TopicPartition], period: Period
) -> AsyncGenerator[Sequence[SourceRecord], None]:
    if period is Period.PAST:
        await warn_of_held_back(reader, partitions)
        async with aclosing(read_range(reader, await stable_ranges(reader, partitions))) as batches:
            async for batch in batches:
                yield batch.records
        return
    is_from_now = period is Period.FUTURE
    reader.assign(
        await (reader.end_offsets if is_from_now else reader.beginning_offsets)(partitions)
    )
    # With these settings a fetch waits at the broker, which answers as soon as there is an event.
    reader.use_running_fetch_settings()
    warning = HeldBackWarning(reader, partitions)
    while True:
        warning.check(time.monotonic())
        for records in (await reader.fetch(FETCH_MS, FETCH_RECORDS)).values():
            yield records


def structured(record: SourceRecord) -> bytes | None:
    """Return an event of either content mode as one JSON object; None for any other record."""
    if record.value is None:
        return None
    attributes: dict[str, Any] = {
        name.removeprefix(ATTRIBUTE): (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith(ATTRIBUTE)
    }
    event = record.value
    try:
        if attributes.get("type") == READY_TYPE:
            content_type = dict(record.headers).get("content-type") or b""
            attributes["datacontenttype"] = content_type.decode(errors="replace")
            event = msgspec.json.encode({**attributes, "data": msgspec.Raw(event)})
        return event if _decode_event(event).type == READY_TYPE else None
    except msgspec.DecodeError:
        return None  # a record of another program


def _table(rows: deque[ReadyEvent], shown: int) -> Table:
    table = one_line_table(f"{shown} checkpoints ready", COLUMNS)
    for event in rows:
        checkpoint, loss = event.data.checkpoint, event.data.evaluation.loss
        cells = (
            event.time,
            event.partitionkey,
            str(checkpoint.get("step_number", "")),
            str(checkpoint.get("fine_tuned_model_checkpoint", "")),
            "" if loss is None else f"{loss:.4f}",
            event.id,
        )
        add_row(table, cells, MAX_CELL_CHARS)  # each refresh draws every cell again
    return table


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    tail_parser = commands.add_parser("tail", help="show ready events as they appear")
    period = tail_parser.add_mutually_exclusive_group()
    period.add_argument(
        "--from-beginning",
        action="store_true",
        help="start with the oldest event instead of the next one",
    )
    period.add_argument("--all", action="store_true", help="show all existing events, then end")
    tail_parser.add_argument("--max-events", type=positive, help="maximum number of events")
    tail_parser.set_defaults(command=_tail)


def _tail(settings: Settings, options: argparse.Namespace) -> int:
    silence_logs(settings)
    run_async(
        tail(
            settings,
            write_line,
            period=_period(options),
            max_events=options.max_events,
            live_table=sys.stdout.isatty(),
        )
    )
    return EXIT_OK


def _period(options: argparse.Namespace) -> Period:
    if options.all:
        return Period.PAST
    return Period.PAST_AND_FUTURE if options.from_beginning else Period.FUTURE
