"""Finds breaking changes between two versions of a JSON Schema, by the rules of the contract.

`docs/compatibility.md` has the rules. A schema of the *input* must accept all that the old schema
accepts, except for the values of new fields. A schema of the *output* must accept nothing that the
old schema refuses, because a subscriber was built for the old one. A keyword that this check cannot
compare is a break in itself, so it fails rather than miss a change.
"""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from dev.schema_nodes import (
    EXACT,
    LOWER_BOUNDS,
    ROOT_ONLY,
    UPPER_BOUNDS,
    Break,
    Node,
    Schema,
    escaped,
)
from dev.schema_rules import rule_breaks


class Direction(StrEnum):
    """Who writes the messages."""

    INPUT = "input"
    """Producers write them, and the service reads them."""
    OUTPUT = "output"
    """The service writes them, and subscribers read them."""


ALL_TYPES: Final = frozenset({
    "array", "boolean", "integer", "null", "number", "object", "string",
})  # fmt: skip
CONSEQUENCE: Final = {
    Direction.INPUT: "producers may send what is refused now",
    Direction.OUTPUT: "subscribers may get what they do not expect",
}


def breaking_changes(old: Schema, new: Schema, direction: Direction) -> list[Break]:
    """Return the breaking changes from the old document to the new one."""
    breaks = [
        Break(f"/{keyword}", f"{keyword} changed from {old.get(keyword)} to {new.get(keyword)}")
        for keyword in ("$id", "$schema")
        if old.get(keyword) != new.get(keyword)
    ]
    nodes = [
        Node({name: it for name, it in root.items() if name not in ROOT_ONLY}, root)
        for root in (old, new)
    ]
    return breaks + node_changes(nodes[0], nodes[1], direction)


def node_changes(old: Node, new: Node, direction: Direction, pointer: str = "") -> list[Break]:
    """Return the breaking changes of one part; `pointer` says where the part is.

    A part of either document that breaks a rule of `dev.schema_rules` is a break too, because the
    comparison would not be right.
    """
    broken = [one for node in (old, new) for one in rule_breaks(node, node.schema, pointer)]
    if broken:
        return list(dict.fromkeys(broken))
    return list(_changes(old.at(old.schema), new.at(new.schema), direction, pointer))


def _changes(old: Node, new: Node, direction: Direction, pointer: str) -> Iterator[Break]:
    if "anyOf" in old.schema or "anyOf" in new.schema:
        yield from _choice_changes(old, new, direction, pointer)
        return
    for change in (_type_changes, _value_changes, _limit_changes, _exact_changes):
        for keyword, text, is_narrower, is_wider in change(old.schema, new.schema):
            if is_narrower if direction is Direction.INPUT else is_wider:
                yield Break(f"{pointer}/{keyword}", f"{text}; {CONSEQUENCE[direction]}")
                if keyword == "type":
                    return  # the other keywords are about another type
    yield from _member_changes(old, new, direction, pointer)
    items = [node.at(node.schema.get("items", True)) for node in (old, new)]
    if items[0].schema or items[1].schema:
        yield from _changes(items[0], items[1], direction, f"{pointer}/items")


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
    values = {json.dumps(one) for one in schema["enum"]} if "enum" in schema else None
    if "const" not in schema:
        return values
    value = {json.dumps(schema["const"])}
    return value if values is None else value & values


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
        if name not in after:
            yield Break(place, f"{name} was removed or renamed")
            continue
        nodes = old.at(schema), new.at(after[name])
        yield from _changes(*nodes, direction, place)
        if direction is Direction.OUTPUT and _is_only_null(nodes[1]) > _is_only_null(nodes[0]):
            yield Break(f"{place}/type", f"{name} is always null now; subscribers may rely on it")
    needed = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    if direction is Direction.INPUT:
        for name in sorted(needed[1] - needed[0]):
            text = f"{name} is required now; producers may send records without it"
            yield Break(f"{pointer}/required", text)
    else:
        for name in sorted((needed[0] - needed[1]) - (before.keys() - after.keys())):
            text = f"{name} is not required any more; subscribers may rely on it"
            yield Break(f"{pointer}/required", text)


def _is_only_null(node: Node) -> bool:
    return all(_types(one.schema) == {"null"} for one in _alternatives(node))


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
    """Return each alternative. A list of types is one for each type, with the other keywords."""
    if "anyOf" in node.schema:
        return [one for part in node.schema["anyOf"] for one in _alternatives(node.at(part))]
    if isinstance(node.schema.get("type"), list):
        return [Node({**node.schema, "type": one}, node.root) for one in node.schema["type"]]
    return [node]
