"""Whether transactions are traced: the standard variables of OpenTelemetry say so, or nothing is.

Nothing of OpenTelemetry is loaded here, nor anywhere while no variable asks for it: it is an extra,
and who does not want it has none of its cost. Behind it is ``consumer.service.span_export``.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import structlog

from consumer.config import Settings
from consumer.shard.events import Observer

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER: Final = "OTEL_TRACES_EXPORTER"
DISABLED: Final = "OTEL_SDK_DISABLED"
OTLP: Final = "otlp"
HTTP_PROTOBUF: Final = "http/protobuf"
INSTALL_HINT: Final = "install the extra: pip install 'checkpoint-ready[otel]'"
Around = Callable[[Observer], Observer]
log = structlog.get_logger(__name__)


class TracingConfig(NamedTuple):
    """What the environment asks for."""

    is_on: bool
    problem: str = ""
    """Why it cannot be had; empty: it can, or is not wanted."""


def read_tracing_config(environment: Mapping[str, str]) -> TracingConfig:
    """Return whether spans are to be exported. An empty variable is one that is not set."""
    told = {name: text.strip() for name, text in environment.items() if text.strip()}
    if told.get(DISABLED, "").lower() == "true":
        return TracingConfig(is_on=False)
    exporters = {name.strip().lower() for name in told.get(EXPORTER, "").split(",")} - {""}
    if not exporters and not any(name in told for name in ENDPOINTS):
        return TracingConfig(is_on=False)
    if exporters == {"none"}:
        return TracingConfig(is_on=False)
    if exporters and OTLP not in exporters:
        return TracingConfig(
            is_on=False, problem=f"{EXPORTER}: only {OTLP} and none are understood"
        )
    for name in PROTOCOLS:
        if name in told:
            if told[name] == HTTP_PROTOBUF:
                break
            problem = f"{name}={told[name]}: spans are sent by {HTTP_PROTOBUF} only"
            return TracingConfig(is_on=False, problem=problem)
    return TracingConfig(is_on=True)


@contextmanager
def open_traces(settings: Settings, environment: Mapping[str, str]) -> Iterator[Around]:
    """Yield what puts spans around an observer; at the end, what is left of them is sent.

    Whatever is wrong with tracing is said once and stops nothing: the service has other work.
    """
    config = read_tracing_config(environment)
    problem = config.problem
    if config.is_on and not _is_installed():
        problem = f"OpenTelemetry is not installed: {INSTALL_HINT}"
    elif config.is_on:
        from consumer.service.tracing.export import SpanExport  # noqa: PLC0415 - the extra, see above

        try:
            export = SpanExport(settings)
        except ValueError as error:  # of some variable that OpenTelemetry cannot read
            problem = f"an OTEL_ variable cannot be read: {error}"
        else:
            log.info("traces_on")
            try:
                yield export.around
            finally:
                export.close()
            return
    if problem:
        log.warning("traces_off", error=problem)
    yield lambda observer: observer


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ImportError:
        return False
