"""The variables that enable tracing, and the attributes of spans."""

import ast
import re
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import messaging_attributes

import consumer.service.tracing.spans
from consumer.service.tracing.config import TracingConfig, read_tracing_config

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
TRACES_ENDPOINT = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"


@pytest.mark.parametrize(
    "environment",
    [
        ENDPOINT,
        TRACES_ENDPOINT,
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_TRACES_EXPORTER": " console, OTLP "},
        ENDPOINT | {"OTEL_SDK_DISABLED": "false"},
        ENDPOINT | {PROTOCOL: "http/protobuf"},
        ENDPOINT | {PROTOCOL: "grpc", TRACES_PROTOCOL: "http/protobuf"},
    ],
)
def test_an_endpoint_or_the_exporter_switches_on(environment: dict[str, str]) -> None:
    """Each of the standard variables is enough; that for traces overrides the general one."""
    assert read_tracing_config(environment) == TracingConfig(is_on=True)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_otherwise_tracing_is_off_without_a_problem(environment: dict[str, str]) -> None:
    """No variable enables tracing, or one disables it."""
    assert read_tracing_config(environment) == TracingConfig(is_on=False)


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        ENDPOINT | {PROTOCOL: "grpc"},
        ENDPOINT | {PROTOCOL: "http/protobuf", TRACES_PROTOCOL: "http/json"},
    ],
)
def test_an_unsupported_value_is_a_problem(environment: dict[str, str]) -> None:
    """With another exporter or protocol tracing is off, and the message names the variable."""
    config = read_tracing_config(environment)
    assert not config.is_on
    assert any(name in config.problem for name in environment)


def test_the_attributes_are_those_of_the_conventions() -> None:
    """Each `messaging.` name in the module is defined by OpenTelemetry and is not deprecated."""
    tree = ast.parse(Path(consumer.service.tracing.spans.__file__).read_text(encoding="utf-8"))
    used = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("messaging.")
    }
    source = Path(messaging_attributes.__file__).read_text(encoding="utf-8")
    described = dict(re.findall(r'= "(messaging\.[^"]+)"\n"""(.*?)"""', source, flags=re.DOTALL))
    assert len(used) > 5
    assert used <= described.keys()
    assert not [name for name in used if "Deprecated" in described[name]]
