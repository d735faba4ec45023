"""Finds breaking changes between two versions of a JSON Schema, by the rules of the contract.

`docs/compatibility.md` has the rules. A schema of the *input* must accept all that the old schema
accepts. A schema of the *output* must accept nothing that the old schema refuses, because a
subscriber was built for the old one. An unknown keyword must be equal in both, so this check fails
rather than miss a change.
"""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]


class Direction(StrEnum):
    """Who writes the messages."""

    INPUT = "input"
    """Producers write them, and the service reads them."""
    OUTPUT = "output"
    """The service writes them, and subscribers read them."""


class Break(NamedTuple):
    """A breaking change: where it is in the schema (a JSON pointer), and what it is."""

    pointer: str
    message: str


class Node(NamedTuple):
    """A part of a document, with the document that its references point into."""

    schema: Schema
    root: Mapping[str, Any]

    def at(self, schema: object) -> "Node":
        """Return another part of the same document, without a reference at its top.

        Raises:
            KeyError: a reference points to nothing.
        """
        part: Any = {} if schema is True else {"not": {}} if schema is False else schema
        while "$ref" in part:
            target: Any = self.root
            for name in part["$ref"].removeprefix("#/").split("/"):
                target = target[unescaped(name)]
            part = {**target, **{name: it for name, it in part.items() if name != "$ref"}}
        return Node(part, self.root)


# They describe a value, and no value is valid or invalid by them.
DESCRIBING: Final = frozenset({
    "$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default",
    "deprecated",
})  # fmt: skip
ALL_TYPES: Final = frozenset({
    "array", "boolean", "integer", "null", "number", "object", "string",
})  # fmt: skip
LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
EXACT: Final = ("format", "pattern", "contentEncoding", "contentMediaType", "multipleOf")
CHOICES: Final = ("anyOf", "oneOf")
_COMPARED: Final = frozenset({
    "type", "const", "enum", "properties", "required", "additionalProperties", "items",
    *LOWER_BOUNDS, *UPPER_BOUNDS, *EXACT, *CHOICES,
})  # fmt: skip
CONSEQUENCE: Final = {
    Direction.INPUT: "producers may send what is refused now",
    Direction.OUTPUT: "subscribers may get what they do not expect",
}


def breaking_changes(old: Schema, new: Schema, direction: Direction) -> list[Break]:
    """Return the breaking changes from the old schema to the new one."""
    breaks = []
    if old.get("$id") != new.get("$id"):
        message = f"$id changed from {old.get('$id')} to {new.get('$id')}; it names this version"
        breaks.append(Break("/$id", message))
    return breaks + node_changes(Node(old, old), Node(new, new), direction)


def node_changes(old: Node, new: Node, direction: Direction, pointer: str = "") -> list[Break]:
    """Return the breaking changes of one part; `pointer` says where the part is."""
    return list(_changes(old.at(old.schema), new.at(new.schema), direction, pointer))


def escaped(name: str) -> str:
    """Return a name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def unescaped(name: str) -> str:
    """Return the name that a part of a JSON pointer stands for."""
    return name.replace("~1", "/").replace("~0", "~")


def _changes(old: Node, new: Node, direction: Direction, pointer: str) -> Iterator[Break]:
    if any(name in node.schema for node in (old, new) for name in CHOICES):
        yield from _choice_changes(old, new, direction, pointer)
        return
    for change in (_type_changes, _value_changes, _limit_changes, _exact_changes):
        for keyword, text, is_narrower, is_wider in change(old.schema, new.schema):
            if is_narrower if direction is Direction.INPUT else is_wider:
                yield Break(f"{pointer}/{keyword}", f"{text}; {CONSEQUENCE[direction]}")
                if keyword == "type":
                    return  # the other keywords are about another type
    yield from _member_changes(old, new, direction, pointer)
    yield from _openness_changes(old, new, direction, pointer)
    for keyword in sorted((old.schema.keys() | new.schema.keys()) - _COMPARED - DESCRIBING):
        if old.schema.get(keyword) != new.schema.get(keyword):
            text = f"{keyword} changed, and this check cannot compare it"
            yield Break(f"{pointer}/{escaped(keyword)}", text)


# Keyword, what changed, whether fewer values are valid now, and whether more values are.
_Change = tuple[str, str, bool, bool]


def _type_changes(old: Schema, new: Schema) -> Iterator[_Change]:
    before, after = _types(old), _types(new)
    if before != after:
        text = f"type changed from {_names(before)} to {_names(after)}"
        yield "type", text, bool(before - after), bool(after - before)


def _types(schema: Schema) -> frozenset[str]:
    """Return the allowed types. Each integer is also a number."""
    found = schema.get("type", ALL_TYPES)
    types = frozenset([found] if isinstance(found, str) else found)
    return types | {"integer"} if "number" in types else types


def _names(types: frozenset[str]) -> str:
    if types == ALL_TYPES:
        return "any"
    return " or ".join(sorted(types - {"integer"} if "number" in types else types))


def _value_changes(old: Schema, new: Schema) -> Iterator[_Change]:
    """Compare `const` and `enum`: both list the valid values."""
    before, after = _values(old), _values(new)
    keyword = "const" if "const" in old or "const" in new else "enum"
    if before is None or after is None:
        if before != after:
            text = f"{keyword} was {'added' if before is None else 'removed'}"
            yield keyword, text, before is None, after is None
        return
    removed, added = sorted(before - after), sorted(after - before)
    if removed:
        yield keyword, f"the value {', '.join(removed)} was removed", True, False
    if added:
        yield keyword, f"the value {', '.join(added)} was added", False, True


def _values(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(one) for one in schema["enum"]} if "enum" in schema else None


def _limit_changes(old: Schema, new: Schema) -> Iterator[_Change]:
    for keywords, sign in ((LOWER_BOUNDS, 1), (UPPER_BOUNDS, -1)):
        for keyword in keywords:
            before, after = old.get(keyword), new.get(keyword)
            if before == after:
                continue
            text = f"{keyword} changed from {before} to {after}"
            narrower = before is None or (after is not None and (after - before) * sign > 0)
            yield keyword, text, narrower, not narrower


def _exact_changes(old: Schema, new: Schema) -> Iterator[_Change]:
    for keyword in EXACT:
        before, after = old.get(keyword), new.get(keyword)
        if before != after:
            text = f"{keyword} changed from {before} to {after}"
            yield keyword, text, after is not None, before is not None


def _member_changes(old: Node, new: Node, direction: Direction, pointer: str) -> Iterator[Break]:
    before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name, schema in before.items():
        place = f"{pointer}/properties/{escaped(name)}"
        if name in after:
            yield from _changes(old.at(schema), new.at(after[name]), direction, place)
        else:
            yield Break(place, f"{name} was removed or renamed")
    needed = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    if direction is Direction.INPUT:
        for name in sorted(needed[1] - needed[0]):
            text = f"{name} is required now; producers may send records without it"
            yield Break(f"{pointer}/required", text)
    else:
        for name in sorted((needed[0] - needed[1]) - (before.keys() - after.keys())):
            text = f"{name} is not required any more; subscribers may rely on it"
            yield Break(f"{pointer}/required", text)


def _openness_changes(old: Node, new: Node, direction: Direction, pointer: str) -> Iterator[Break]:
    """Compare the schemas of unknown members and of list items. Missing: any value is valid."""
    for keyword in ("additionalProperties", "items"):
        before, after = old.schema.get(keyword, True), new.schema.get(keyword, True)
        place = f"{pointer}/{keyword}"
        if keyword == "additionalProperties" and after is False and before is not False:
            yield Break(place, "unknown members are refused now; no field could ever be added")
        elif before != after or isinstance(before, dict):
            yield from _changes(old.at(before), new.at(after), direction, place)


def _choice_changes(old: Node, new: Node, direction: Direction, pointer: str) -> Iterator[Break]:
    """Compare alternatives: each one that must stay valid needs a partner on the other side."""
    before, after = _alternatives(old), _alternatives(new)
    if len(before) == len(after) == 1:
        yield from _changes(before[0], after[0], direction, pointer)
        return
    is_input = direction is Direction.INPUT
    for one in before if is_input else after:
        partners = [(one, it) for it in after] if is_input else [(it, one) for it in before]
        found = [
            (
                list(_changes(*pair, direction, pointer)),
                _types(pair[0].schema) & _types(pair[1].schema),
            )
            for pair in partners
        ]
        if any(not breaks for breaks, _ in found):
            continue
        similar = [breaks for breaks, common_types in found if common_types]
        if similar:
            yield from min(similar, key=len)
        else:
            what = "is not accepted any more" if is_input else "is new"
            text = f"the alternative {_names(_types(one.schema))} {what}; {CONSEQUENCE[direction]}"
            yield Break(f"{pointer}/anyOf", text)


def _alternatives(node: Node) -> list[Node]:
    """Return each alternative, with the keywords that are beside all of them."""
    for keyword in CHOICES:
        if keyword in node.schema:
            beside = {name: it for name, it in node.schema.items() if name != keyword}
            parts = [node.at(one) for one in node.schema[keyword]]
            return [
                one
                for part in parts
                for one in _alternatives(Node({**beside, **part.schema}, node.root))
            ]
    if isinstance(node.schema.get("type"), list):
        return [Node({**node.schema, "type": one}, node.root) for one in node.schema["type"]]
    return [node]
