"""The rules for each schema of the contract by itself, without which a comparison misses breaks.

`docs/compatibility.md` has the rules. They also hold for a part that the other version does not
have, for example for a new field.
"""

from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator

from dev.schema_nodes import (
    COMPARED,
    DESCRIBING,
    LOWER_BOUNDS,
    UPPER_BOUNDS,
    Break,
    Node,
    Schema,
    escaped,
)

COVERING: Final = ("$ref", "anyOf")
"""Beside these keywords, another keyword would limit the values a second time."""
_OF_VALUES: Final = frozenset({"type", "const", "enum", "pattern", *LOWER_BOUNDS, *UPPER_BOUNDS})
_EXCLUSIVE: Final = frozenset({"exclusiveMinimum", "exclusiveMaximum"})


def rule_breaks(node: Node, schema: Any, pointer: str = "") -> Iterator[Break]:  # noqa: ANN401 - any JSON
    """Return where a schema of the node's document breaks a rule, and all parts that it uses."""
    if schema is True:
        return
    if schema is False:
        yield Break(pointer, "no value is valid")
        return
    yield from _keyword_breaks(schema, pointer)
    if "$ref" in schema:
        yield from rule_breaks(node, node.at(schema).schema, pointer)
        return
    if _is_contradictory(schema):
        yield Break(pointer, "no value is valid: the keywords contradict each other")
    for name, part in schema.get("properties", {}).items():
        yield from rule_breaks(node, part, f"{pointer}/properties/{escaped(name)}")
    for index, part in enumerate(schema.get("anyOf", ())):
        yield from rule_breaks(node, part, f"{pointer}/anyOf/{index}")
    yield from rule_breaks(node, schema.get("items", True), f"{pointer}/items")


def _keyword_breaks(schema: Schema, pointer: str) -> Iterator[Break]:
    limiting = sorted(schema.keys() - DESCRIBING)
    covering = [keyword for keyword in COVERING if keyword in schema][:1]
    for keyword in limiting:
        place = f"{pointer}/{escaped(keyword)}"
        if keyword == "additionalProperties":
            text = "unknown members are always allowed, or no field could ever be added"
            yield Break(place, text)
        elif keyword not in COMPARED and keyword != "$ref":
            yield Break(place, f"this check cannot compare {keyword}")
        elif covering and keyword not in covering:
            text = f"this check cannot compare {keyword} beside {covering[0]}; write it inside"
            yield Break(place, text)


def _is_contradictory(schema: Schema) -> bool:
    """Return whether certainly no value is valid."""
    if any(schema.get(keyword) == [] for keyword in ("type", "anyOf", "enum")):
        return True
    for lower in LOWER_BOUNDS:
        for upper in UPPER_BOUNDS:
            # The names of a pair begin with min and max, and what they limit is the same.
            if _limited(lower) != _limited(upper) or not {lower, upper} <= schema.keys():
                continue
            low, high = schema[lower], schema[upper]
            if low > high or (low == high and {lower, upper} & _EXCLUSIVE):
                return True
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is None:
        return False
    validator = Draft202012Validator({name: schema[name] for name in _OF_VALUES & schema.keys()})
    return not any(validator.is_valid(value) for value in values)


def _limited(bound: str) -> str:
    """Return what a bound limits: "imum" is the value itself."""
    return bound.removeprefix("exclusive")[3:]
