"""The documents in `schemas/` are those of the code, and each is complete."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from consumer.config import VARIABLES, Settings
from consumer.contract.asyncapi import asyncapi_document
from consumer.contract.documents import files
from consumer.contract.messages import EXAMPLES, STRUCTS, json_schema
from consumer.contract.names import VERSIONS, schema_id, schema_path
from consumer.pipeline.dead_letters import dead_letter
from consumer.pipeline.records import InvalidRecord, Reason, Stage
from dev.asyncapi_compatibility import DIRECTIONS, PRESENT
from schemas.ready_event import DATASCHEMA, Origin
from tests.builders import Record
from tests.contract.tools import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULTS = Settings.load({})
# What a process with HTTP imports before it runs.
START = "import consumer.cli.run, consumer.cli.schema, consumer.service.app, consumer.service.http"
LATER = {"consumer.contract.documents", "consumer.contract.messages", "consumer.contract.asyncapi"}


def test_the_files_are_those_of_a_new_export() -> None:
    """`checkpoint-ready schema export --directory schemas` writes them after a change."""
    exported = dict(files(DEFAULTS))
    found = {
        str(path.relative_to(PRESENT)): path.read_bytes()
        for path in (*PRESENT.glob("*.json"), *PRESENT.glob("json/*"))
    }
    assert found == exported


@pytest.mark.parametrize("name", VERSIONS)
def test_each_schema_is_valid_and_has_a_valid_example(name: str) -> None:
    """It is JSON Schema 2020-12, open for new members, and describes each member."""
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    (example,) = schema["examples"]
    validator.validate(example)
    validator.validate({**example, "unknown": {"a": [1]}})
    for part in (schema, *schema.get("$defs", {}).values()):
        assert "additionalProperties" not in part
        lacking = [
            member
            for member, it in part.get("properties", {}).items()
            if not ("description" in it or "$ref" in it)
        ]
        assert lacking == []
        assert part["description"]
    for member in schema["required"]:
        assert not validator.is_valid({key: it for key, it in example.items() if key != member})


def test_each_message_has_a_struct_an_example_and_a_direction() -> None:
    """A new message is added to every table."""
    assert STRUCTS.keys() == EXAMPLES.keys() == VERSIONS.keys()
    assert DIRECTIONS.keys() <= VERSIONS.keys()
    titles = [json_schema(name)["title"] for name in VERSIONS]
    assert len(set(titles)) == len(titles)


def test_the_default_address_is_the_id_of_the_schema() -> None:
    """The attribute `dataschema`, the setting and `$id` agree."""
    (variable,) = [one for one in VARIABLES if one.short_name == "DATASCHEMA"]
    assert variable.default == DATASCHEMA == schema_id("ready-event") == DEFAULTS.dataschema
    assert schema_path("ready-event-data") in variable.description


@pytest.mark.parametrize("max_bytes", [1_000_000, 2000, 700])
def test_a_truncated_dead_letter_is_valid(max_bytes: int) -> None:
    """The headers that describe the whole value are in the schema."""
    producer = [("h", b"x" * 1000), ("checkpoint-ready.redrive", b"{}")]
    record = Record(0, 0, b"k" * 1000, b"x" * 3000, producer)
    error = InvalidRecord(Reason.TOO_LARGE, "it is too large", Stage.TASK_PUT, "RecordTooLarge")
    letter = dead_letter(error, Origin("in", 0, 0, -1), record, producer, max_bytes)
    headers = {name: (value or b"").decode() for name, value in letter.headers}
    schema = json_schema("dead-letter-headers")
    Draft202012Validator(schema).validate(headers)
    is_cut = max_bytes < 10_000
    assert ("checkpoint-ready.value.sha256" in headers) is is_cut
    own = {name for name, _ in producer}
    assert headers.keys() - own <= schema["properties"].keys()


def test_the_document_has_the_topics_of_the_settings() -> None:
    """Also those of several inputs, and of the schemas only once."""
    settings = Settings.load(
        {
            "CHECKPOINT_READY_INPUT_TOPICS": "one,two",
            "CHECKPOINT_READY_OUTPUT_TOPIC": "out",
            "CHECKPOINT_READY_GROUP_ID": "group",
            "CHECKPOINT_READY_BOOTSTRAP_SERVERS": "secret-host:9092",
        }
    )
    document = asyncapi_document(settings)
    addresses = {name: channel["address"] for name, channel in document["channels"].items()}
    assert addresses == {
        "checkpoints": "one",
        "checkpoints2": "two",
        "ready": "out",
        "deadLetters": "fine-tuning.checkpoints.dead-letters",
        "replay": settings.replay_topic,
    }
    assert len(document["operations"]) == len(addresses) + 1  # check events, on the ready topic
    group = document["operations"]["receiveCheckpoints2"]["bindings"]["kafka"]["groupId"]
    assert group["const"] == "group"
    # Anyone may fetch the document from the HTTP port.
    assert "secret-host" not in json.dumps(document)


def test_the_schemas_of_both_formats_are_equal() -> None:
    """A reference leads to the same definition in the AsyncAPI document."""
    components = asyncapi_document(DEFAULTS)["components"]["schemas"]
    for name in VERSIONS:
        schema = json_schema(name)
        for title, part in {schema["title"]: schema, **schema.get("$defs", {})}.items():
            text = json.dumps(part.get("properties")).replace("#/$defs/", "#/components/schemas/")
            assert json.loads(text) == components[title].get("properties")
    assert set(components) >= {json_schema(name)["title"] for name in VERSIONS}


def test_every_reference_leads_to_a_definition() -> None:
    """No definition is missing, and none is without a use."""
    for name in VERSIONS:
        schema = json_schema(name)
        used = {one.removeprefix("#/$defs/") for one in references(schema)}
        assert used == schema.get("$defs", {}).keys()


def references(node: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a schema
    """Yield each reference in a part of a schema."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from references(part)


def test_the_start_of_the_service_builds_no_document() -> None:
    """The modules are imported by the command `schema` and by the first request."""
    script = f"{START}, sys; print(*(name for name in sys.modules if 'contract' in name))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "consumer.contract.names" in loaded
    assert not loaded & LATER
