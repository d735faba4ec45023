"""JSON Schema 2020-12 of each message, made from the structs.

An unknown member is always allowed (no schema sets `additionalProperties`), so that a field can be
added within a version.
"""

from collections.abc import Callable
from functools import cache
from inspect import cleandoc
from typing import Any, Final

import msgspec

from consumer.contract import samples
from consumer.contract.headers import (
    CheckEventHeaders,
    DeadLetterHeaders,
    ReadyEventHeaders,
    ReadyEventStructuredHeaders,
)
from consumer.contract.names import schema_id
from schemas.checkpoint import Checkpoint, SdkCheckpoint
from schemas.ready_event import CheckData, CheckEvent, ReadyData, ReadyEvent

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS: Final = "#/$defs/"


STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {
    "checkpoint": Checkpoint,
    "checkpoint-sdk": SdkCheckpoint,
    "ready-event": ReadyEvent,
    "ready-event-data": ReadyData,
    "ready-event-headers": ReadyEventHeaders,
    "ready-event-structured-headers": ReadyEventStructuredHeaders,
    "check-event": CheckEvent,
    "check-event-data": CheckData,
    "check-event-headers": CheckEventHeaders,
    "dead-letter-headers": DeadLetterHeaders,
}
"""The struct of each message by its name."""
EXAMPLES: Final[dict[str, Callable[[], Schema]]] = {
    "checkpoint": lambda: samples.CHECKPOINT,
    "checkpoint-sdk": lambda: samples.SDK_CHECKPOINT,
    "ready-event": lambda: samples.ready_event(binary_mode=False).value,
    "ready-event-data": lambda: samples.ready_event(binary_mode=True).value,
    "ready-event-headers": lambda: samples.ready_event(binary_mode=True).headers,
    "ready-event-structured-headers": lambda: samples.ready_event(binary_mode=False).headers,
    "check-event": lambda: samples.check_event(binary_mode=False).value,
    "check-event-data": lambda: samples.check_event(binary_mode=True).value,
    "check-event-headers": lambda: samples.check_event(binary_mode=True).headers,
    "dead-letter-headers": lambda: samples.dead_letter_message().headers,
}


def json_schema(name: str) -> Schema:
    """Return the JSON Schema of a message: one document with one root."""
    found = definitions(DEFINITIONS)
    root = found[STRUCTS[name].__name__]
    schema = {"$schema": DIALECT, "$id": schema_id(name), **root, "examples": [EXAMPLES[name]()]}
    used = _references(root, found)
    if used:
        schema["$defs"] = {one: found[one] for one in sorted(used)}
    return schema


@cache
def definitions(prefix: str) -> dict[str, Schema]:
    """Return the schemas of all structs by name. A reference is `prefix` and a name."""
    template = f"{prefix}{{name}}"
    _, found = msgspec.json.schema_components(STRUCTS.values(), ref_template=template)
    # The service keeps the checkpoint as raw bytes. For a subscriber it is an object.
    checkpoint = {"$ref": f"{prefix}{Checkpoint.__name__}"}
    found[ReadyData.__name__]["properties"]["checkpoint"] = checkpoint
    return {name: _simplified(schema) for name, schema in found.items()}


def _simplified(node: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Return the schema with `const` for an `enum` of one, types of enums, and joined lines."""
    if isinstance(node, list):
        return [_simplified(one) for one in node]
    if not isinstance(node, dict):
        return node
    schema = {name: _simplified(value) for name, value in node.items()}
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(cleandoc(schema["description"]).split())
    if isinstance(schema.get("enum"), list):
        schema["type"] = "string"
        if len(schema["enum"]) == 1:
            (schema["const"],) = schema.pop("enum")
    if schema.get("required") == []:
        del schema["required"]
    return schema


def _references(node: Any, found: dict[str, Schema]) -> set[str]:  # noqa: ANN401 - any part of a schema
    """Return the names of all definitions that a part of a schema needs."""
    if isinstance(node, list):
        return set().union(*(_references(one, found) for one in node))
    if not isinstance(node, dict):
        return set()
    names = set().union(*(_references(one, found) for one in node.values()))
    if isinstance(node.get("$ref"), str):
        name = node["$ref"].removeprefix(DEFINITIONS)
        names |= {name} | _references(found[name], found)
    return names
