"""Switch tracing on or off by the standard environment variables of OpenTelemetry.

This module does not import OpenTelemetry, which is an optional extra. It loads
``consumer.service.tracing.export`` only if a variable enables tracing. Otherwise tracing costs
nothing.
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
AddSpans = Callable[[Observer], Observer]
"""Returns an observer that makes spans and passes each event on to the given observer."""
log = structlog.get_logger(__name__)


class TracingConfig(NamedTuple):
    """Whether the environment enables tracing."""

    is_on: bool
    problem: str = ""
    """Why the requested tracing is impossible. Empty if it is possible, or was not requested."""


def read_tracing_config(environment: Mapping[str, str]) -> TracingConfig:
    """Return whether to export spans. An empty variable counts as not set."""
    variables = {name: text.strip() for name, text in environment.items() if text.strip()}
    if variables.get(DISABLED, "").lower() == "true":
        return TracingConfig(is_on=False)
    exporters = {name.strip().lower() for name in variables.get(EXPORTER, "").split(",")} - {""}
    if not exporters and not any(name in variables for name in ENDPOINTS):
        return TracingConfig(is_on=False)
    if exporters == {"none"}:
        return TracingConfig(is_on=False)
    if exporters and OTLP not in exporters:
        return TracingConfig(is_on=False, problem=f"{EXPORTER}: only {OTLP} and none are supported")
    for name in PROTOCOLS:
        if name in variables:
            if variables[name] == HTTP_PROTOBUF:
                break
            problem = f"{name}={variables[name]}: only {HTTP_PROTOBUF} is supported"
            return TracingConfig(is_on=False, problem=problem)
    return TracingConfig(is_on=True)


@contextmanager
def open_traces(settings: Settings, environment: Mapping[str, str]) -> Iterator[AddSpans]:
    """Yield a function that adds spans to an observer. At the end, send the remaining spans.

    If tracing is off, the function returns the observer unchanged. A problem with tracing is logged
    once and does not stop the service.
    """
    config = read_tracing_config(environment)
    problem = config.problem
    if config.is_on and not _is_installed():
        problem = f"OpenTelemetry is not installed: {INSTALL_HINT}"
    elif config.is_on:
        from consumer.service.tracing.export import SpanExport  # noqa: PLC0415 - the optional extra

        try:
            export = SpanExport(settings)
        except ValueError as error:  # OpenTelemetry raises it for the value of a variable
            problem = f"an OTEL_ variable is invalid: {error}"
        else:
            log.info("traces_on")
            try:
                yield export.add_spans
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
