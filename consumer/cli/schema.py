"""The command `schema`: the wire contract as JSON Schema, for subscribers in any language."""

import argparse
from typing import Any

import msgspec

from consumer.cli.output import EXIT_OK, write_line
from consumer.config import Settings
from schemas.checkpoint import Checkpoint, SdkCheckpoint
from schemas.ready_event import DATASCHEMA, ReadyData, ReadyEvent


def export_schemas() -> dict[str, Any]:
    """Return one JSON Schema document: a ready event, or a source object in either spelling."""
    spellings, definitions = msgspec.json.schema_components(
        [ReadyEvent, Checkpoint, SdkCheckpoint], ref_template="#/$defs/{name}"
    )
    # The service keeps the checkpoint as raw bytes; for a subscriber it is an object.
    data = definitions[ReadyData.__name__]["properties"]
    data["checkpoint"] = {"$ref": f"#/$defs/{Checkpoint.__name__}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": DATASCHEMA,
        "title": "checkpoint-ready",
        "oneOf": list(spellings),
        "$defs": definitions,
    }


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    schema = commands.add_parser("schema", help="print the wire contract as JSON Schema")
    schema_actions = schema.add_subparsers(required=True, metavar="ACTION")
    export = schema_actions.add_parser("export", help="print the schemas")
    export.set_defaults(command=_schema_export)


def _schema_export(_settings: Settings, _: argparse.Namespace) -> int:
    write_line(msgspec.json.format(msgspec.json.encode(export_schemas()), indent=2))
    return EXIT_OK
