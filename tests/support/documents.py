"""Input documents: checkpoints in both spellings, and the envelopes of producers."""

from __future__ import annotations

import json
from typing import Any, Final

Header = tuple[str, bytes | None]
Document = dict[str, Any]

OBJECT: Final = "fine_tuning.job.checkpoint"
STRUCTURED: Final[Header] = ("content-type", b"application/cloudevents+json; charset=UTF-8")
# The example of the SDK's own document, byte for byte: it must be published, not refused.
SDK_EXAMPLE: Final = (
    b'{"id":"<id>","createdAt":975522,"fineTunedModelCheckpoint":"<value>","stepNumber":855804,'
    b'"metrics":{},"fineTuningJobId":"<id>","object":"fine_tuning.job.checkpoint"}'
)


def checkpoint(**changes: object) -> Document:
    """Return a valid checkpoint in wire spelling; a change to `...` leaves the field out."""
    fields: Document = {
        "id": "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",
        "object": OBJECT,
        "created_at": 1_721_764_867,
        "fine_tuned_model_checkpoint": (
            "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88"
        ),
        "fine_tuning_job_id": "ftjob-abc123",
        "metrics": {"step": 88, "train_loss": 0.478, "full_valid_loss": 0.567},
        "step_number": 88,
    } | changes
    return {name: found for name, found in fields.items() if found is not ...}


def camel(fields: Document) -> Document:
    """Return the fields, and those of nested objects, in the spelling of the SDKs (camelCase)."""
    return {
        _camel_name(name): camel(found) if isinstance(found, dict) else found
        for name, found in fields.items()
    }


def envelope(data: object, **changes: object) -> Document:
    """Return a CloudEvents envelope around `data`; a change to `...` leaves the member out."""
    members: Document = {
        "specversion": "1.0",
        "id": "event-1",
        "source": "/poller",
        "type": "fine_tuning.job.checkpoint",
        "data": data,
    } | changes
    return {name: found for name, found in members.items() if found is not ...}


def connect(payload: object, schema: object = ...) -> Document:
    """Return what Kafka Connect's JsonConverter writes, by default with a schema."""
    some: Document = {"type": "struct", "optional": False, "fields": []}
    return {"schema": some if schema is ... else schema, "payload": payload}


def compact(document: object) -> bytes:
    """Return the document as JSON without white space."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
