"""Maps the body of a webhook to a checkpoint, by JSON pointers (RFC 6901) and constants. Pure.

The same body always gives the same bytes. So a webhook that is delivered twice is a duplicate.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from consumer.sources.ingest_config import PLACEHOLDER, Field, Mapping
from schemas.checkpoint import CHECKPOINT_OBJECT

_MISSING: Final = object()
_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_INTEGERS: Final = frozenset({"created_at", "step_number", "step"})
_encode = msgspec.json.Encoder(order="sorted").encode


def is_wanted(mapping: Mapping, document: object) -> bool:
    """Return whether the body fulfils all conditions of the mapping."""
    return all(resolve(document, pointer) == value for pointer, value in mapping.when.items())


def map_checkpoint(mapping: Mapping, document: object) -> bytes:
    """Return the checkpoint as JSON. The pipeline checks whether it is complete."""
    found = _members(mapping.fields, document)
    found["metrics"] = _members(mapping.metrics, document)
    found.setdefault("object", CHECKPOINT_OBJECT)
    return _encode(found)


def resolve(document: object, pointer: str) -> object:
    """Return the value at a JSON pointer, or `_MISSING`, which equals nothing else."""
    found: object = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name, _MISSING)
        elif isinstance(found, list) and _WHOLE.fullmatch(name) and int(name) < len(found):
            found = found[int(name)]
        else:
            return _MISSING
    return found


def _members(fields: dict[str, Field], document: object) -> dict[str, Any]:
    values = {name: _value(name, field, document) for name, field in fields.items()}
    return {name: value for name, value in values.items() if value is not _MISSING}


def _value(name: str, field: Field, document: object) -> object:
    if field.value is not msgspec.UNSET:
        return field.value
    found = (
        _filled(field.template, document) if field.template else resolve(document, field.pointer)
    )
    if name in _INTEGERS and isinstance(found, str):
        return _integer(name, found)
    return found


def _filled(template: str, document: object) -> object:
    """Return the template with its values; missing if one of them is missing."""
    values = {pointer: resolve(document, pointer) for pointer in PLACEHOLDER.findall(template)}
    if not all(isinstance(value, str | int | float) for value in values.values()):
        return _MISSING
    return PLACEHOLDER.sub(lambda place: str(values[place[1]]), template)


def _integer(name: str, text: str) -> object:
    """Return the number in a text, or the Unix seconds of a time; any other text unchanged."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if name == "created_at":
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return text
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    return text
