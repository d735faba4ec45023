"""Export spans by OTLP over HTTP, in a thread of OpenTelemetry.

An unreachable collector must not delay the service or fill its log. So the exporter logs a failure
once and the recovery once, and the shutdown waits only a few seconds for the collector.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from consumer import __version__
from consumer.config import Settings
from consumer.service.tracing.spans import TransactionSpans
from consumer.shard.events import Observer

# Must be shorter than ``event_loop_watchdog.SHUTDOWN_SECONDS``, which limits the whole shutdown.
FLUSH_SECONDS: Final = 3.0
LIBRARY: Final = "opentelemetry"
log = structlog.get_logger(__name__)


class SpanExport:
    """Exports spans in the background. Only the end of the process waits for the export."""

    def __init__(self, settings: Settings) -> None:
        """Configure the export from the standard environment variables.

        Raises:
            ValueError: one of these variables is invalid.
        """
        self._settings = settings
        self._exporter = QuietExporter(OTLPSpanExporter())
        # `close` shuts the provider down. A shutdown at the exit of the interpreter would wait for
        # the collector for half a minute.
        self._provider = TracerProvider(resource=_resource(settings), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))

    def add_spans(self, observer: Observer) -> Observer:
        """Return an observer that makes spans and calls the given observer.

        While it calls the given observer, log lines carry the id of the trace.
        """
        tracer = self._provider.get_tracer("checkpoint-ready", __version__)
        return TransactionSpans(observer, tracer, self._settings)

    def close(self) -> None:
        """Send the remaining spans, within `FLUSH_SECONDS`."""
        closing = threading.Thread(
            target=self._provider.shutdown, name="traces-closing", daemon=True
        )
        closing.start()
        closing.join(FLUSH_SECONDS)
        self._exporter.stop_logging()
        if closing.is_alive():
            log.warning("traces_not_flushed", seconds=FLUSH_SECONDS)


class QuietExporter(SpanExporter):
    """Wraps an exporter: logs when its exports begin to fail, and when they succeed again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._messages = _LibraryMessages()
        logger = logging.getLogger(LIBRARY)
        logger.handlers = [self._messages]
        logger.propagate = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch; the batch processor calls this in its thread."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - for example an invalid address
            self._messages.last = f"{type(error).__name__}: {error}"
            result = SpanExportResult.FAILURE
        has_failed = result is not SpanExportResult.SUCCESS
        if has_failed != self._messages.is_failing and not self._messages.is_closed:
            if has_failed:
                log.warning("traces_not_exported", error=self._messages.last)
            else:
                log.info("traces_exported_again")
        self._messages.is_failing = has_failed
        return result

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self._exporter.shutdown()

    def stop_logging(self) -> None:
        """Stop logging: a thread that writes while the interpreter exits may crash the process."""
        self._messages.is_closed = True


class _LibraryMessages(logging.Handler):
    """Keeps the library's last message about a failed export.

    It passes the other messages of the library on, except while exports fail.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self.is_failing = False
        self.is_closed = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(f"{LIBRARY}.exporter"):
            self.last = record.getMessage()
        elif not self.is_failing and not self.is_closed:
            logging.getLogger().handle(record)


def _resource(settings: Settings) -> Resource:
    """Return the attributes of this process; the standard variables take precedence."""
    ours = {SERVICE_NAME: "checkpoint-ready", SERVICE_VERSION: __version__}
    if settings.group_instance_id:  # else OpenTelemetry generates one
        ours[SERVICE_INSTANCE_ID] = settings.group_instance_id
    configured = OTELResourceDetector().detect().attributes
    return Resource.create({name: text for name, text in ours.items() if name not in configured})
