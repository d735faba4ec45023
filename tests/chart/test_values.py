"""Every value is described and checked, and every setting of the service can be set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from consumer.config import PREFIX, VARIABLES, Settings
from consumer.errors import ConfigError
from tests.chart.rendering import CASES, CHART, Refused, render

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
CONFIG: dict[str, Any] = SCHEMA["properties"]["config"]["properties"]
# Helm's own; a chart that has this one in it may set them.
NOT_IN_VALUES = {"global"}
# Those that a value of their own sets, or a Secret, or the name of the pod.
TYPED = {
    "BOOTSTRAP_SERVERS",
    "DEAD_LETTER_TOPIC",
    "GROUP_ID",
    "GROUP_INSTANCE_ID",
    "HTTP_PORT",
    "INPUT_TOPICS",
    "OUTPUT_TOPIC",
    "SASL_MECHANISM",
    "SASL_PASSWORD",
    "SASL_USERNAME",
    "SECURITY_PROTOCOL",
    "SHARDS",
    "SSL_CAFILE",
    "SSL_CERTFILE",
    "SSL_KEYFILE",
    *(name for name in (v.short_name for v in VARIABLES) if name.startswith("SASL_OAUTHBEARER_")),
}
BY_NAME = {variable.short_name: variable for variable in VARIABLES}


def _objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every part of the schema that names properties."""
    if "properties" in schema:
        yield path, schema
        for name, inner in schema["properties"].items():
            yield from _objects(inner, f"{path}.{name}".lstrip("."))


def _example(schema: dict[str, Any]) -> object:
    return schema.get("maximum", schema.get("enum", schema.get("examples", [True]))[-1])


def test_every_value_is_described_and_no_other_is_taken() -> None:
    """Each property has a description. An unknown property is refused."""
    for path, schema in _objects(SCHEMA):
        assert schema["additionalProperties"] is False, path
        for name, inner in schema["properties"].items():
            assert inner["description"].endswith(".") or path == "config", f"{path}.{name}"
            assert inner["description"], f"{path}.{name}"


def test_values_and_schema_have_the_same_names() -> None:
    """values.yaml and the schema have the same properties."""
    for path, schema in _objects(SCHEMA):
        if path == "config":
            continue
        values = VALUES
        for part in path.split(".") if path else []:
            values = values[part]
        assert schema["properties"].keys() - NOT_IN_VALUES == values.keys(), path


def test_every_variable_is_a_value_or_a_setting_under_config() -> None:
    """A variable that is added to consumer/config/variables.py must be added to the chart."""
    assert BY_NAME.keys() == CONFIG.keys() | TYPED
    assert not CONFIG.keys() & TYPED


@pytest.mark.parametrize("name", CONFIG)
def test_a_setting_has_the_words_and_the_bounds_of_its_variable(name: str) -> None:
    """The chart accepts the same values of a setting as the service."""
    schema, variable = CONFIG[name], BY_NAME[name]
    assert schema["description"] == variable.description
    if schema["type"] == "integer":
        for bound, beyond in (("minimum", -1), ("maximum", 1)):
            variable.parse(str(schema[bound]))
            with pytest.raises(ValueError, match="must be"):
                variable.parse(str(schema[bound] + beyond))
        if "then" in schema:  # 0 means no limit
            least = schema["then"]["minimum"]
            assert schema["if"] == {"minimum": 1}
            assert variable.parse(str(least)) == least
            with pytest.raises(ValueError, match="less than"):
                variable.parse(str(least - 1))
    elif schema["type"] == "boolean":
        assert [variable.parse(str(it)) for it in (True, False)] == [True, False]
    else:
        for word in schema.get("enum", schema.get("examples")):
            assert variable.parse(word) == word
        with pytest.raises(ValueError, match="must be"):
            variable.parse("none of them")
        with pytest.raises(Refused, match=name):
            render(config={name: "none of them"})


@pytest.mark.parametrize(
    "config",
    [
        {"HEARTBEAT_INTERVAL_MS": 3_333},
        {"HEARTBEAT_INTERVAL_MS": 3_334},
        {"HEARTBEAT_INTERVAL_MS": 60_000, "SESSION_TIMEOUT_MS": 150_000},
        {"HEARTBEAT_INTERVAL_MS": 50_000, "SESSION_TIMEOUT_MS": 150_000},
        {"SESSION_TIMEOUT_MS": 150_001},
        {"SESSION_TIMEOUT_MS": 1_800_000},
        {"SESSION_TIMEOUT_MS": 1_800_000, "WATCHDOG_SECONDS": 3_600},
        {"SESSION_TIMEOUT_MS": 1_800_000, "WATCHDOG_SECONDS": 0},
        {"TRANSACTION_TIMEOUT_MS": 150_000},
        {"TRANSACTION_TIMEOUT_MS": 150_001},
        {"TRANSACTION_TIMEOUT_MS": 900_000, "WATCHDOG_SECONDS": 1_799},
        {"WATCHDOG_SECONDS": 30},
        {"WATCHDOG_SECONDS": 29},
        {"WATCHDOG_SECONDS": 1, "TRANSACTION_TIMEOUT_MS": 1_000},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused_as_by_the_service(
    config: dict[str, int],
) -> None:
    """The chart refuses them before the install, with the same limits and defaults."""
    variables = {f"{PREFIX}{name}": str(v) for name, v in config.items()}
    try:
        Settings.load(variables)
    except ConfigError:
        with pytest.raises(Refused, match="config"):
            render(config=config)
    else:
        assert render(config=config).settings()


@pytest.mark.parametrize("name", CONFIG)
def test_a_setting_under_config_reaches_the_process(name: str) -> None:
    """Each one is rendered in the form that the service reads."""
    variable = BY_NAME[name]
    every = {other: _example(it) for other, it in CONFIG.items()}
    text = render(config=every).settings()[variable.name]
    assert variable.read({variable.name: text}) == variable.parse(str(_example(CONFIG[name])))


def test_nearly_nothing_has_to_be_set() -> None:
    """Only the brokers have no default."""
    assert render().one("Deployment")
    assert set(CASES) == {
        "hpa",
        "ingest",
        "minimal",
        "oauthbearer",
        "poll",
        "production",
        "replay",
        "strimzi",
        "strimzi-bridges",
        "strimzi-tls",
    }
