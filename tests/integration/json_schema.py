"""A validator for the JSON Schema keywords that our schemas use; others fail the test."""

from __future__ import annotations

from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
DESCRIBING = {"title", "description", "default", "format", "$schema", "$id", "$defs"}
REFERENCE = "#/$defs/"
Schema = dict[str, Any]


def is_valid(value: Any, schema: Schema, root: Schema) -> bool:  # noqa: ANN401 - any JSON
    """Return whether the value satisfies the schema; `root` has the definitions."""
    return all(
        _satisfies(value, keyword, wanted, schema, root)
        for keyword, wanted in schema.items()
        if keyword not in DESCRIBING
    )


def _satisfies(value: Any, keyword: str, wanted: Any, schema: Schema, root: Schema) -> bool:  # noqa: ANN401, C901, PLR0911 - any JSON; one case for each keyword
    match keyword:
        case "$ref":
            return is_valid(value, root["$defs"][wanted.removeprefix(REFERENCE)], root)
        case "oneOf":
            return sum(is_valid(value, one, root) for one in wanted) == 1
        case "anyOf":
            return any(is_valid(value, one, root) for one in wanted)
        case "type":
            is_mistaken = isinstance(value, bool) and wanted != "boolean"
            return isinstance(value, TYPES[wanted]) and not is_mistaken
        case "enum":
            return value in wanted
        case "const":
            return bool(value == wanted)
        case "minLength":
            return not isinstance(value, str) or len(value) >= wanted
        case "minimum":
            return not isinstance(value, int | float) or value >= wanted
        case "maximum":
            return not isinstance(value, int | float) or value <= wanted
        case "required":
            return not isinstance(value, dict) or set(wanted) <= value.keys()
        case "properties":
            return not isinstance(value, dict) or all(
                is_valid(value[name], one, root) for name, one in wanted.items() if name in value
            )
    message = f"the keyword {keyword} of {schema} is not known here"
    raise AssertionError(message)
