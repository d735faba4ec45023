"""The command `pipe`: reads records as lines and writes a decision for each, without Kafka.

There is one shard, which is the home of every id, and each decision is applied at once. No clock
is used: the same lines always give the same decisions.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from consumer.cli.output import write_json
from consumer.config import Settings
from consumer.pipeline.decider import Decider, Decision, apply, expire
from consumer.pipeline.printable import printable_line
from consumer.pipeline.records import Header, Headers, Limits, Reason, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds

_TOPIC: Final = "stdin"
_NO_TIMESTAMP: Final = -1
_NO_CEILING_MS: Final = 2**63 - 1
_TOMBSTONES_PER_RECORD: Final = 100


class PipedRecord(NamedTuple):
    """A line as a record for the pipeline."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Line(msgspec.Struct, frozen=True):
    """A complete record as one line.

    If `value` is a JSON string, the record's value is the text in it. null means no value. Any
    other JSON is itself the record's value.
    """

    value: msgspec.Raw
    key: str | None = None
    headers: dict[str, str | None] | list[tuple[str, str | None]] = msgspec.field(
        default_factory=dict
    )
    topic: str = _TOPIC
    partition: int = 0
    offset: int | None = None
    timestamp_ms: int = _NO_TIMESTAMP


class LineDecision(msgspec.Struct, frozen=True):
    """The decision about one line."""

    decision: str
    event: msgspec.Raw | None = None
    reason: Reason | None = None
    message: str | None = None


_decode_line = msgspec.json.Decoder(Line).decode
_decode_value = msgspec.json.Decoder(str | None).decode


def pipe(
    lines: Iterable[bytes],
    write: Callable[[bytes], None],
    *,
    settings: ShardSettings,
    window_ms: int,
    records: bool = False,
) -> int:
    """Write one decision for each line and return the exit code.

    Each line is a record's value or, with `records`, an object with its `key`, `value`,
    `headers`, `topic`, `partition`, `offset` and `timestamp_ms`. A line that is not such an
    object gives an error message and the exit code 1; the other lines are still decided.
    """
    settings = msgspec.structs.replace(settings, shard=0, shards=1)
    seen = SeenIds(window_ms)
    decider = Decider(settings, seen)
    exit_code = 0
    for number, line in enumerate(lines):
        text = line.rstrip(b"\r\n")
        try:
            batch = _whole_record(text, number) if records else _bare_value(text, number)
        except ValueError as error:
            message = printable_line(str(error))
            sys.stderr.write(f"line {number + 1} is not a record: {message}\n")
            exit_code = 1
            continue
        decision = Decision()
        decider.decide(batch, decision, _NO_CEILING_MS)
        expire(seen, decision, decision.stream_time_ms, _TOMBSTONES_PER_RECORD)
        apply(seen, decision)
        write(msgspec.json.encode(_line_decision(decision)) + b"\n")
    return exit_code


def _bare_value(text: bytes, number: int) -> SourceBatch:
    record = PipedRecord(number, _NO_TIMESTAMP, None, text, [])
    return SourceBatch(_TOPIC, 0, [record], forwarded=False)


def _whole_record(text: bytes, number: int) -> SourceBatch:
    line = _decode_line(text)
    raw = bytes(line.value)
    value: bytes | None = raw
    if raw == b"null" or raw.startswith(b'"'):
        string = _decode_value(raw)
        value = None if string is None else string.encode()
    pairs = line.headers.items() if isinstance(line.headers, dict) else line.headers
    headers: list[Header] = [
        (name, None if content is None else content.encode()) for name, content in pairs
    ]
    key = None if line.key is None else line.key.encode()
    offset = number if line.offset is None else line.offset
    record = PipedRecord(offset, line.timestamp_ms, key, value, headers)
    return SourceBatch(line.topic, line.partition, [record], forwarded=False)


def _line_decision(decision: Decision) -> LineDecision:
    if decision.ready:
        return LineDecision("ready", event=msgspec.Raw(decision.ready[0].value))
    if decision.dead_letters:
        dead_letter = decision.dead_letters[0]
        return LineDecision("dead_letter", reason=dead_letter.reason, message=dead_letter.message)
    return LineDecision("forward" if decision.forwards else "duplicate")


PIPE_LIMIT_BYTES: Final = 1024 * 1024


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    pipe_parser = commands.add_parser(
        "pipe", help="decide about JSON lines from standard input, without Kafka"
    )
    pipe_parser.add_argument(
        "--records",
        action="store_true",
        help="each line is a complete record: key, value, headers, topic, partition, offset",
    )
    pipe_parser.set_defaults(command=_pipe)


def _pipe(settings: Settings, options: argparse.Namespace) -> int:
    limits = Limits(PIPE_LIMIT_BYTES, PIPE_LIMIT_BYTES, PIPE_LIMIT_BYTES)
    return pipe(
        sys.stdin.buffer,
        write_json,
        settings=ShardSettings(
            shard=0,
            shards=1,
            group_id=settings.group_id,
            limits=limits,
            binary_mode=settings.cloudevents_mode == "binary",
            schema_guid=settings.schema_guid,
            dataschema=settings.dataschema,
        ),
        window_ms=settings.dedup_window_seconds * 1000,
        records=options.records,
    )
