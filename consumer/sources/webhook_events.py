"""Tells the events of Standard Webhooks from checkpoints, which the same sender may send. Pure."""

from typing import Any, Final

from consumer.sources.ingest_request import JSON, IngestRequest
from schemas.checkpoint import CHECKPOINT_OBJECT

EVENT: Final = "event"
# Of OpenAI and Azure OpenAI, whose events may lack `object`.
_KNOWN_TYPES: Final = (
    "batch.",
    "eval.run.",
    "fine_tuning.job.",
    "live.call.",
    "realtime.call.",
    "response.",
    "safety_identifier.",
)
_STANDARD_MEMBERS: Final = frozenset({"type", "timestamp", "data"})


def may_be_event(request: IngestRequest) -> bool:
    """Return whether a request may hold an event that is no checkpoint, by its headers."""
    return request.content_type == JSON and b"ce-specversion" not in request.headers


def is_event(document: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    """Return whether a document is an event. Everything else must be a checkpoint.

    An event has a `type`, and besides one of these: `object` is `event`; or there is no `object`,
    and the type begins as those of OpenAI do, or there are `timestamp` and `data`, as Standard
    Webhooks 1.0 recommends.
    """
    if not isinstance(document, dict) or "specversion" in document:
        return False
    kind = document.get("type")
    if not isinstance(kind, str):
        return False
    if "object" in document:
        return bool(document["object"] == EVENT)
    if kind.startswith(CHECKPOINT_OBJECT):
        return False
    return kind.startswith(_KNOWN_TYPES) or document.keys() >= _STANDARD_MEMBERS
