"""Checks a mapping before any request: what would refuse every body, or give all bodies one id."""

import datetime as dt
import re
from typing import Any, Final

import msgspec

from consumer.sources.ingest_config import PLACEHOLDER, Field, Mapping
from schemas.checkpoint import Checkpoint, Metrics

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
_METRICS: Final = "metrics"
_FIELDS: Final = {
    one.name: one for one in msgspec.structs.fields(Checkpoint) if one.name != _METRICS
}
# A mapping adds `object` itself.
_REQUIRED: Final = tuple(
    name for name, field in _FIELDS.items() if field.required and name != "object"
)
_METRIC_FIELDS: Final = {one.name: one for one in msgspec.structs.fields(Metrics)}
_NOT_IN_JSON: Final = (dt.date, dt.time)


def mapping_problems(mapping: Mapping) -> list[str]:
    """Return what is wrong with a mapping, each with the name of the field."""
    problems = _table_problems("fields", mapping.fields, _FIELDS)
    problems += _table_problems(_METRICS, mapping.metrics, _METRIC_FIELDS)
    missing = [name for name in _REQUIRED if name not in mapping.fields]
    if missing:
        problems.append(f"fields: a checkpoint needs {', '.join(missing)} too")
    identity = mapping.fields.get("id")
    if identity is not None and identity.value is not msgspec.UNSET:
        problems.append("fields.id: a constant would give every checkpoint the same id")
    for pointer, value in mapping.when.items():
        if not _POINTER.fullmatch(pointer):
            problems.append(f"when: {pointer!r} is no JSON pointer")
        if isinstance(value, _NOT_IN_JSON):
            problems.append(f"when: {pointer!r}: JSON has no dates: write a text")
    return problems


def _table_problems(
    table: str, fields: dict[str, Field], known: dict[str, msgspec.structs.FieldInfo]
) -> list[str]:
    problems = []
    for name, field in fields.items():
        place = f"{table}.{name}"
        if name not in known:
            problems.append(f"{place}: there is no such field; choose of {', '.join(known)}")
        elif field.value is not msgspec.UNSET:
            problems += [f"{place}: {one}" for one in _value_problems(field.value, known[name])]
        problems += [f"{place}: {one}" for one in _field_problems(field)]
    return problems


def _value_problems(value: Any, field: msgspec.structs.FieldInfo) -> list[str]:  # noqa: ANN401 - of TOML
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        return [str(error)]
    return []


def _field_problems(field: Field) -> list[str]:
    members = (bool(field.pointer), bool(field.template), field.value is not msgspec.UNSET)
    problems = []
    if sum(members) != 1:
        problems.append("set one of pointer, template and value")
    if field.pointer and not _POINTER.fullmatch(field.pointer):
        problems.append(f"{field.pointer!r} is no JSON pointer")
    if field.template:
        problems += _template_problems(field.template)
    return problems


def _template_problems(template: str) -> list[str]:
    pointers = PLACEHOLDER.findall(template)
    problems = [
        f"{{{pointer}}}: {pointer!r} is no JSON pointer"
        for pointer in pointers
        if not _POINTER.fullmatch(pointer)
    ]
    if re.search(r"[{}]", PLACEHOLDER.sub("", template)):
        problems.append(f"{template!r} has a brace without its counterpart")
    if not pointers:
        problems.append(f"{template!r} has no JSON pointer in braces")
    return problems
