"""The way out for spans: OTLP over HTTP, in a thread of OpenTelemetry's own.

A collector that is away must neither hold the service up nor fill its log. So its failure is said
once, and so is its return, and at the end it is waited for only a moment.
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

# Within the bound that the end of the process has (``loop_guard``).
FLUSH_SECONDS: Final = 3.0
LIBRARY: Final = "opentelemetry"
log = structlog.get_logger(__name__)


class SpanExport:
    """Spans on their way out, in the background; never waited for but at the end."""

    def __init__(self, settings: Settings) -> None:
        """Read the standard variables.

        Raises:
            ValueError: one of them cannot be read.
        """
        self._settings = settings
        self._exporter = QuietExporter(OTLPSpanExporter())
        # No end of its own at the exit of the interpreter: it would wait for half a minute.
        self._provider = TracerProvider(resource=_resource(settings), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))

    def around(self, observer: Observer) -> Observer:
        """Return an observer that makes spans, and tells this one in their context."""
        tracer = self._provider.get_tracer("checkpoint-ready", __version__)
        return TransactionSpans(observer, tracer, self._settings)

    def close(self) -> None:
        """Send what is left, as far as a short time allows."""
        closing = threading.Thread(
            target=self._provider.shutdown, name="traces-closing", daemon=True
        )
        closing.start()
        closing.join(FLUSH_SECONDS)
        self._exporter.fall_silent()
        if closing.is_alive():
            log.warning("traces_not_flushed", seconds=FLUSH_SECONDS)


class QuietExporter(SpanExporter):
    """Exports by another one, and says when that begins to fail and when it succeeds again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._reasons = _Reasons()
        logger = logging.getLogger(LIBRARY)
        logger.handlers = [self._reasons]
        logger.propagate = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch, in the thread of the batch processor."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - an address that is none, a certificate that is not there
            self._reasons.last = f"{type(error).__name__}: {error}"
            result = SpanExportResult.FAILURE
        has_failed = result is not SpanExportResult.SUCCESS
        if has_failed != self._reasons.is_failing and not self._reasons.is_closed:
            if has_failed:
                log.warning("traces_not_exported", error=self._reasons.last)
            else:
                log.info("traces_exported_again")
        self._reasons.is_failing = has_failed
        return result

    def shutdown(self) -> None:
        """Shut the other one down."""
        self._exporter.shutdown()

    def fall_silent(self) -> None:
        """Say nothing more: a thread that writes while the interpreter ends may break its end."""
        self._reasons.is_closed = True


class _Reasons(logging.Handler):
    """Keeps what the library says of a failure, and passes on what it says of anything else."""

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
    """Return who makes the spans; what the standard variables say wins."""
    ours = {SERVICE_NAME: "checkpoint-ready", SERVICE_VERSION: __version__}
    if settings.group_instance_id:  # else a random one is made
        ours[SERVICE_INSTANCE_ID] = settings.group_instance_id
    told = OTELResourceDetector().detect().attributes
    return Resource.create({name: text for name, text in ours.items() if name not in told})
