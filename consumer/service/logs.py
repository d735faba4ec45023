"""Structured logs on standard output: JSON lines, or console text on a terminal.

An event name is a constant in snake_case; facts are fields. No line has a payload or a secret.
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
from consumer.config.login import OAUTHBEARER
from consumer.pipeline.printable import printable, printable_json
from consumer.shard.events import Observer, TransactionReport

LIBRARY_LEVEL: Final = logging.WARNING
# Lines of libraries get at most this level, because the client library also logs errors from which
# it then recovers. If a problem concerns an operator, the service itself logs it, at its own level.
LOUDEST_LIBRARY_LEVEL: Final = logging.WARNING
LIBRARY_INTERVAL_SECONDS: Final = 10.0
# The providers of tokens that are code of this service.
OWN_SOURCES: Final = ("oidc", "file")
# Bounds the memory for the kinds of lines. If a library formats its messages before it logs them,
# each line is a kind of its own.
MAX_LIBRARY_KINDS: Final = 500
log = structlog.get_logger("checkpoint_ready")


def configure_logs(settings: Settings, on_suppressed: Callable[[], object] = lambda: None) -> None:
    """Configure structlog for this process, and pass the log lines of libraries through it.

    `on_suppressed` is called for each line of a library that is suppressed.
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
                    serializer=_encode_for_terminal if sys.stdout.isatty() else _encode
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
                _escape_texts,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stdout),
            cache_logger_on_first_use=True,
        )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(on_suppressed, _mask_of(settings))]
    root.setLevel(max(LIBRARY_LEVEL, level))


def _mask_of(settings: Settings) -> Callable[[str], str]:
    """Return what masks the lines of libraries.

    The library of a cloud and a class of the user log by themselves, with any of their options.
    """
    if settings.sasl_mechanism != OAUTHBEARER or settings.sasl_oauthbearer_provider in OWN_SOURCES:
        return str
    from consumer.kafka.tokens.masking import (  # noqa: PLC0415 - few commands need it
        secrets_of_process,
        without_secrets,
    )

    return lambda text: without_secrets(text, *secrets_of_process())


def _encode(event: dict[str, Any], **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)


def _encode_for_terminal(event: dict[str, Any], **_: object) -> bytes:
    return printable_json(_encode(event))


def _escape_texts(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape control characters in the texts of an event, so that none can control a terminal."""
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in event.items()
    }


class _LibraryHandler(logging.Handler):
    """Writes the log lines of libraries as `library_message`, each kind at most every 10 seconds.

    A kind is a logger with a message text, without the arguments of the message. While a broker is
    away, every client of every shard logs several lines a second.
    """

    def __init__(
        self, on_suppressed: Callable[[], object], mask: Callable[[str], str] = str
    ) -> None:
        super().__init__()
        self._on_suppressed = on_suppressed
        self._mask = mask
        self._last: dict[tuple[str, str], float] = {}
        self._suppressed: dict[tuple[str, str], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind = (record.name, str(record.msg))
        now = time.monotonic()  # a wall clock that is set back would suppress lines for longer
        if now - self._last.get(kind, -math.inf) < LIBRARY_INTERVAL_SECONDS:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            self._on_suppressed()
            return
        if len(self._last) >= MAX_LIBRARY_KINDS:
            self._last.clear()
            self._suppressed.clear()
        self._last[kind] = now
        suppressed = self._suppressed.pop(kind, 0)
        facts: dict[str, Any] = {"logger": record.name, "message": self._mask(record.getMessage())}
        if suppressed:
            facts["suppressed"] = suppressed
        if record.exc_info and record.exc_info[1] is not None:
            facts["error"] = self._mask(repr(record.exc_info[1]))
        log.log(min(record.levelno, LOUDEST_LIBRARY_LEVEL), "library_message", **facts)


class LogObserver(Observer):
    """Logs each transaction, and a bounded number of its ready events and of its dead letters."""

    def on_transaction(self, report: TransactionReport) -> None:
        """Log what the transaction committed."""
        for event in report.events:
            log.info("checkpoint_ready", shard=report.shard, **event)
        for dead_letter in report.dead_letter_fields:
            log.info("dead_letter", shard=report.shard, **dead_letter)
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
                hint="a bug in the service: it could not handle these records. They are in the "
                "dead-letter topic with the reason; please report the bug",
            )
