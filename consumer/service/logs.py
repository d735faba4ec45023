"""Structured logs on standard output: JSON lines, or console text on a terminal.

Event names are constant snake_case words with bound context. Never a payload, never a secret.
"""

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import EventDict

from consumer.config import Settings
from consumer.pipeline.printable import printable, printable_json
from consumer.shard.events import Observer, TransactionReport

LIBRARY_LEVEL: Final = logging.WARNING
# The client library calls an error what it then heals by itself. What concerns the operator is
# said by us, at the level that it deserves.
LOUDEST_LIBRARY_LEVEL: Final = logging.WARNING
LIBRARY_INTERVAL_SECONDS: Final = 10.0
# Some libraries format a text before they log it, so that each line is another kind.
MAX_LIBRARY_KINDS: Final = 500
log = structlog.get_logger("checkpoint_ready")


def configure_logs(settings: Settings, on_suppressed: Callable[[], object] = lambda: None) -> None:
    """Set up structlog for this process and take in the client library's own log lines.

    `on_suppressed` is called for each of those that is left out.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    wanted = settings.log_format or ("console" if sys.stdout.isatty() else "json")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if wanted == "json":
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(
                    serializer=_encode_shown if sys.stdout.isatty() else _encode
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                _spell_out,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stdout),
            cache_logger_on_first_use=True,
        )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(on_suppressed)]
    root.setLevel(max(LIBRARY_LEVEL, level))


def _encode(event: dict[str, Any], **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)


def _encode_shown(event: dict[str, Any], **_: object) -> bytes:
    return printable_json(_encode(event))


def _spell_out(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Make text of producers and brokers safe for a terminal; what is no text is shown by repr."""
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in event.items()
    }


class _LibraryHandler(logging.Handler):
    """Turns a log line of a library into one of ours, the same one not more often than useful.

    A broker that is away makes every client of every shard complain several times a second.
    """

    def __init__(self, on_suppressed: Callable[[], object]) -> None:
        super().__init__()
        self._on_suppressed = on_suppressed
        self._last: dict[tuple[str, str], float] = {}
        self._suppressed: dict[tuple[str, str], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind = (record.name, str(record.msg))  # the text before its arguments: few of them exist
        now = time.monotonic()  # a clock that is set back must not silence a library for as long
        if now - self._last.get(kind, -math.inf) < LIBRARY_INTERVAL_SECONDS:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            self._on_suppressed()
            return
        if len(self._last) >= MAX_LIBRARY_KINDS:
            self._last.clear()
            self._suppressed.clear()
        self._last[kind] = now
        suppressed = self._suppressed.pop(kind, 0)
        facts: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if suppressed:
            facts["suppressed"] = suppressed
        if record.exc_info and record.exc_info[1] is not None:
            facts["error"] = repr(record.exc_info[1])
        log.log(min(record.levelno, LOUDEST_LIBRARY_LEVEL), "library_message", **facts)


class LogObserver(Observer):
    """Writes a line per transaction; one per ready event and per dead letter, both bounded."""

    def on_transaction(self, report: TransactionReport) -> None:
        """Log what a transaction made visible."""
        for event in report.events:
            log.info("checkpoint_ready", shard=report.shard, **event)
        for letter in report.letters:
            log.info("dead_letter", shard=report.shard, **letter)
        log.info(
            "transaction_committed",
            shard=report.shard,
            consumed=report.consumed,
            published=report.published,
            duplicates=report.duplicates,
            conflicting=report.conflicting,
            dead_letters=report.dead_letters,
            forwarded=report.forwarded,
            expired=report.expired,
            next_offsets=report.next_offsets,
            duration_ms=round(report.duration_ms, 3),
            suppressed_events=report.suppressed_events,
        )
        if "internal_error" in report.dead_letters:
            log.error(
                "internal_errors",
                shard=report.shard,
                records=report.dead_letters["internal_error"],
                hint="a bug met these records; they are in the dead-letter topic with the reason",
            )
