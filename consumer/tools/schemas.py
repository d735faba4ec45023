"""The wire contract as JSON Schema, for subscribers in any language."""

from typing import Any

import msgspec

from schemas.checkpoint import Checkpoint, SdkCheckpoint
from schemas.ready_event import DATASCHEMA, ReadyData, ReadyEvent


def export_schemas() -> dict[str, Any]:
    """Return one JSON Schema document: a ready event, or a source object in either spelling."""
    spellings, definitions = msgspec.json.schema_components(
        [ReadyEvent, Checkpoint, SdkCheckpoint], ref_template="#/$defs/{name}"
    )
    # To the codec it is raw bytes, kept as they came; to a subscriber it is a checkpoint.
    data = definitions[ReadyData.__name__]["properties"]
    data["checkpoint"] = {"$ref": f"#/$defs/{Checkpoint.__name__}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": DATASCHEMA,
        "title": "checkpoint-ready",
        "oneOf": list(spellings),
        "$defs": definitions,
    }
