"""The chart's schema and defaults of the configuration files are those of the programs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consumer.sources.ingest_config import IngestConfig
from consumer.sources.poll.accounts import Account
from tests.chart import bridges
from tests.chart.rendering import CHART, render

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "pattern")
CONFIG = SCHEMA["properties"]["ingest"]["properties"]["config"]["properties"]
WEBHOOKS = CONFIG["webhooks"]["additionalProperties"]["oneOf"]


def _struct_schemas(kind: type) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([kind])
    return components


STRUCTS = _struct_schemas(IngestConfig) | _struct_schemas(Account)
PAIRS = {
    "IngestConfig": CONFIG,
    "Checkpoints": CONFIG["checkpoints"]["properties"],
    "Limits": CONFIG["limits"]["properties"],
    "StandardWebhook": WEBHOOKS[0]["properties"],
    "BodyHmacWebhook": WEBHOOKS[1]["properties"],
    "BearerWebhook": WEBHOOKS[2]["properties"],
    "Mapping": SCHEMA["definitions"]["mapping"]["properties"],
    "Field": SCHEMA["definitions"]["field"]["properties"],
    "Account": SCHEMA["definitions"]["account"]["properties"],
}


def test_the_schema_knows_every_struct_of_the_files() -> None:
    """A Struct that is added to the configuration must be added to the chart."""
    assert STRUCTS.keys() == PAIRS.keys()


@pytest.mark.parametrize("name", PAIRS)
def test_the_schema_has_the_keys_and_bounds_of_the_programs(name: str) -> None:
    """A key or a bound that changes in the program must change in the chart."""
    struct, chart = STRUCTS[name]["properties"], PAIRS[name]
    struct.pop("accounts_file", None)  # the chart names the file by `--accounts`
    assert struct.keys() == chart.keys()
    for key, declared in struct.items():
        options = [it for it in declared.get("anyOf", []) if it != {"type": "null"}]
        schema = options[0] if options else declared
        words = chart[key].get("enum", [])
        if "pattern" in schema and words:
            assert all(re.search(schema["pattern"], word) for word in words), key
            continue
        assert set(words) == set(schema.get("enum", [])) - {chart[key].get("const")}, key
        for bound in BOUNDS:
            if bound in schema:
                assert chart[key][bound] == schema[bound], (key, bound)


def test_the_values_are_the_defaults_of_the_receiver(tmp_path: Path) -> None:
    """values.yaml states the defaults of the program, and a number stays what it is."""
    config = bridges.ingest_config(render(**bridges.ingest()), tmp_path)
    default = IngestConfig()
    assert config.limits == default.limits
    assert config.port == default.port
    text = bridges.bridge_files(render(**bridges.ingest()))["ingest"]
    assert "memory_bytes = 67108864\n" in text


ODD = {"a.b c": '"quoted" \\ <&> \n\té', "n": -1.5, "big": 2**40, "list": [True, [1], {"x": "{"}]}


def test_any_value_survives_the_way_to_toml(tmp_path: Path) -> None:
    """Texts, keys, numbers and nested values reach the decoder unchanged."""
    when = {"/a b": ODD["a.b c"], "/n": ODD["n"], "/big": ODD["big"], "/list": ODD["list"]}
    when["/odd key"] = ODD
    fields = {
        "id": {"template": "{/a}-{/b~1c}"},
        "created_at": {"pointer": "/at"},
        "fine_tuning_job_id": {"value": ODD["a.b c"]},
        "fine_tuned_model_checkpoint": {"pointer": "/a b"},
        "step_number": {"value": ODD["big"]},
    }
    mapping = {"when": when, "fields": fields}
    webhook = {"kind": "bearer", "token_files": [bridges.TOKEN], "checkpoint": mapping}
    rendered = render(**bridges.ingest({"webhooks": {"odd": webhook}}))
    config = bridges.ingest_config(rendered, tmp_path)
    found = config.webhooks["odd"].checkpoint
    assert found is not None
    assert found.when == when
    assert found.fields["id"].template == "{/a}-{/b~1c}"
    assert found.fields["fine_tuning_job_id"].value == ODD["a.b c"]
    assert found.fields["step_number"].value == ODD["big"]
