"""The check for breaking changes misses none that an independent validator finds."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dev.schema_compatibility import Direction, breaking_changes
from dev.schema_nodes import Node
from dev.schema_rules import rule_breaks

Schema = dict[str, Any]
NAMES = ("a", "b")
VALUES = ("", "x", "yy", 0, 1, 2, 0.5, None, True)
DEFINITIONS = {
    "Text": {"type": "string", "minLength": 1},
    "Number": {"type": ["number", "null"], "maximum": 1},
}

small = st.integers(0, 2)
values = st.sampled_from(VALUES)
types = st.sampled_from(["string", "integer", "number", "null", "boolean", "object"])


def with_some(base: Schema, **keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    """Return schemas with the base and any of these keywords."""
    return st.fixed_dictionaries({}, optional=keywords).map(lambda some: base | some)


leaves = st.one_of(
    with_some({}, type=types | st.lists(types, min_size=1, max_size=3, unique=True)),
    with_some({"type": "string"}, minLength=small, maxLength=small),
    with_some({"type": "number"}, minimum=small, maximum=small),
    with_some({"type": "integer"}, minimum=small, maximum=small),
    with_some({}, enum=st.lists(values, min_size=1, max_size=4)),
    with_some({}, const=values),
    st.sampled_from(sorted(DEFINITIONS)).map(lambda name: {"$ref": f"#/$defs/{name}"}),
)
# A released schema keeps the rules.
leaves = leaves.filter(lambda it: not any(rule_breaks(Node({}, {"$defs": DEFINITIONS}), it)))
choices = st.lists(leaves, min_size=1, max_size=3).map(lambda some: {"anyOf": some})
members = st.dictionaries(st.sampled_from(NAMES), leaves | choices)
objects = with_some(
    {"type": "object"},
    properties=members,
    required=st.lists(st.sampled_from(NAMES), unique=True),
)
parts = st.one_of(leaves, choices, objects)
roots = with_some(
    {"type": "object"},
    properties=st.dictionaries(st.sampled_from(NAMES), parts),
    required=st.lists(st.sampled_from(NAMES), unique=True),
).map(lambda root: {**root, "$defs": DEFINITIONS})


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """Return a schema, and the same schema with a few changes."""
    old = draw(roots)
    new = copy.deepcopy(old)
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        new.setdefault("properties", {})[name] = draw(changed(old.get("properties", {}).get(name)))
    if draw(st.booleans()):
        new["required"] = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return old, new


def changed(part: Schema | None) -> st.SearchStrategy[Schema]:
    """Return parts that are near the given one, and any other parts."""
    if part is None:
        return parts
    fewer = [{name: it for name, it in part.items() if name != keyword} for keyword in part]
    more = with_some(part, minimum=small, maximum=small, minLength=small, maxLength=small)
    another = choices.map(lambda choice: {"anyOf": [*part.get("anyOf", [part]), *choice["anyOf"]]})
    # Keywords of `part` last, so that its reference or its alternatives stay.
    beside = (leaves | objects).map(lambda limit: limit | part)
    exclusive = (choices | another).map(lambda choice: {"oneOf": choice["anyOf"]})
    same = st.sampled_from([part, *fewer])
    return st.one_of(same, more, another, beside, exclusive, parts)


# Every document of two members, each of which may be absent.
DOCUMENTS = [
    {name: value for name, value in zip(NAMES, pair, strict=True) if value is not ...}
    for pair in product((..., *VALUES, {}, {"a": 0}, {"a": "x", "b": None}), repeat=2)
]


def without_unknown(value: Any, schema: Schema) -> Any:  # noqa: ANN401 - any JSON
    """Return the value without the members that the schema does not name, at two levels.

    A later field may have the name of an unknown member: this is no break.
    """
    if not isinstance(value, dict):
        return value
    named = schema.get("properties", {})
    return {name: without_unknown(it, named[name]) for name, it in value.items() if name in named}


@given(pairs())
@settings(max_examples=500, deadline=None)
def test_no_break_is_missed(pair: tuple[Schema, Schema]) -> None:
    """What must stay valid stays valid, if the check reports nothing."""
    for direction in Direction:
        narrow, wide = pair if direction is Direction.INPUT else pair[::-1]
        if breaking_changes(*pair, direction):
            continue
        before, after = Draft202012Validator(narrow), Draft202012Validator(wide)
        for document in DOCUMENTS:
            known = without_unknown(document, narrow)
            assert after.is_valid(known) or not before.is_valid(known)


@given(roots)
@settings(max_examples=200, deadline=None)
def test_no_change_is_no_break(schema: Schema) -> None:
    """In both directions."""
    for direction in Direction:
        assert breaking_changes(schema, schema, direction) == []
