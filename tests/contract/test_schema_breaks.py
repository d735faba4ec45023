"""The check finds a planted break of a schema in the direction in which it breaks a reader."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dev.schema_compatibility import Direction, breaking_changes

if TYPE_CHECKING:
    from collections.abc import Callable

OLD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:test:1",
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a"},
        "time": {"type": "string", "format": "date-time"},
        "version": {"const": "1.0", "type": "string"},
        "kind": {"enum": ["a", "b"], "type": "string"},
        "count": {"type": "integer", "minimum": 0, "maximum": 10},
        "loss": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "metric": {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]},
        "part": {"$ref": "#/$defs/Part"},
        "list": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "free": {},
    },
    "required": ["id", "kind", "part"],
    "$defs": {
        "Part": {
            "type": "object",
            "properties": {"a/b": {"type": "string"}, "c": {"type": "string"}},
            "required": ["a/b"],
        }
    },
}


class Change(NamedTuple):
    """A change of the schema, and the pointer of its break in each direction ("": allowed)."""

    name: str
    apply: Callable[[dict[str, Any]], object]
    in_input: str
    in_output: str


def changed(name: str, **keywords: object) -> Callable[[dict[str, Any]], object]:
    """Return a change that sets keywords of a member, or removes those that are `...`."""

    def apply(schema: dict[str, Any]) -> None:
        part = schema["properties"][name]
        part.update(keywords)
        for keyword in [it for it, value in part.items() if value is ...]:
            del part[keyword]

    return apply


def renamed(schema: dict[str, Any]) -> None:
    """Rename an optional member."""
    schema["properties"]["moment"] = schema["properties"].pop("time")


def member(**schema: object) -> Callable[[dict[str, Any]], object]:
    """Return a change that adds an optional member with this schema."""

    def apply(document: dict[str, Any]) -> None:
        document["properties"]["new"] = schema

    return apply


def covered(**keywords: object) -> Callable[[dict[str, Any]], object]:
    """Return a change of a definition that keywords beside a reference to it would hide."""

    def apply(schema: dict[str, Any]) -> None:
        part = schema["$defs"]["Part"]
        schema["properties"]["part"].update({name: part.get(name) for name in keywords})
        part.update(keywords)

    return apply


def added(*, is_required: bool) -> Callable[[dict[str, Any]], object]:
    """Return a change that adds a member."""

    def apply(schema: dict[str, Any]) -> None:
        schema["properties"]["new"] = {"type": "string"}
        if is_required:
            schema["required"].append("new")

    return apply


P = "/properties"
NEVER_NEW: dict[str, tuple[dict[str, Any], str]] = {
    "not": ({"not": {}}, "/not"),
    "unknown members refused": ({"additionalProperties": False}, "/additionalProperties"),
    "unknown members of items refused": (
        {"items": {"anyOf": [{"additionalProperties": False}]}},
        "/items/anyOf/0/additionalProperties",
    ),
    "unknown keyword": ({"patternProperties": {".": False}}, "/patternProperties"),
    "no alternative": ({"anyOf": []}, ""),
    "no type": ({"type": []}, ""),
    "other dialect": ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema"),
    "no length": ({"minLength": 1, "maxLength": 0}, ""),
    "no number": ({"minimum": 1, "exclusiveMaximum": 1}, ""),
    "const of another type": ({"const": 1, "type": "string"}, ""),
}
CHANGES = [
    Change("removed property", lambda it: it["properties"].pop("time"), f"{P}/time", f"{P}/time"),
    Change("renamed property", renamed, f"{P}/time", f"{P}/time"),
    Change(
        "removed property of a definition",
        lambda it: it["$defs"]["Part"]["properties"].pop("c"),
        f"{P}/part/properties/c",
        f"{P}/part/properties/c",
    ),
    Change(
        "type of a member with an escaped name",
        lambda it: it["$defs"]["Part"]["properties"]["a/b"].update(type="integer"),
        f"{P}/part/properties/a~1b/type",
        f"{P}/part/properties/a~1b/type",
    ),
    Change("type changed", changed("count", type="string"), f"{P}/count/type", f"{P}/count/type"),
    Change("type widened", changed("count", type="number"), "", f"{P}/count/type"),
    Change("type removed", changed("count", type=...), "", f"{P}/count/type"),
    Change("type added", changed("free", type="string"), f"{P}/free/type", ""),
    Change("null allowed", changed("count", type=["integer", "null"]), "", f"{P}/count/type"),
    Change(
        "object became a string",
        lambda it: it["properties"].update(part={"type": "string"}),
        f"{P}/part/type",
        f"{P}/part/type",
    ),
    Change("enum value removed", changed("kind", enum=["a"]), f"{P}/kind/enum", ""),
    Change("enum value added", changed("kind", enum=["a", "b", "c"]), "", f"{P}/kind/enum"),
    Change(
        "enum value replaced", changed("kind", enum=["a", "c"]), f"{P}/kind/enum", f"{P}/kind/enum"
    ),
    Change("enum removed", changed("kind", enum=...), "", f"{P}/kind/enum"),
    Change("enum added", changed("free", enum=[1]), f"{P}/free/enum", ""),
    Change(
        "enum value in an alternative removed",
        changed("metric", anyOf=[{"enum": ["x"]}, {"type": "null"}]),
        f"{P}/metric/enum",
        "",
    ),
    Change(
        "enum value in an alternative added",
        changed("metric", anyOf=[{"enum": ["x", "y", "z"]}, {"type": "null"}]),
        "",
        f"{P}/metric/enum",
    ),
    Change("required added", added(is_required=True), "/required", ""),
    Change("required member made of an optional one", lambda it: it["required"].append("time"),
           "/required", ""),
    Change("required removed", lambda it: it["required"].remove("kind"), "", "/required"),
    Change(
        "format changed", changed("time", format="date"), f"{P}/time/format", f"{P}/time/format"
    ),
    Change("format added", changed("id", format="uri"), f"{P}/id/format", ""),
    Change("format removed", changed("time", format=...), "", f"{P}/time/format"),
    Change("pattern changed", changed("id", pattern="^b"), f"{P}/id/pattern", f"{P}/id/pattern"),
    Change("pattern removed", changed("id", pattern=...), "", f"{P}/id/pattern"),
    Change("lower bound narrowed", changed("count", minimum=1), f"{P}/count/minimum", ""),
    Change("lower bound widened", changed("count", minimum=-1), "", f"{P}/count/minimum"),
    Change("lower bound removed", changed("count", minimum=...), "", f"{P}/count/minimum"),
    Change("upper bound narrowed", changed("count", maximum=9), f"{P}/count/maximum", ""),
    Change("upper bound widened", changed("count", maximum=11), "", f"{P}/count/maximum"),
    Change("upper bound added", changed("free", maximum=1), f"{P}/free/maximum", ""),
    Change("length narrowed", changed("id", minLength=2), f"{P}/id/minLength", ""),
    Change("length widened", changed("id", maxLength=10), "", f"{P}/id/maxLength"),
    Change("items limited", changed("list", maxItems=2), f"{P}/list/maxItems", ""),
    Change(
        "items changed",
        changed("list", items={"type": "null"}),
        f"{P}/list/items/type",
        f"{P}/list/items/type",
    ),
    Change("items free", changed("list", items=...), "", f"{P}/list/items/type"),
    Change(
        "const changed", changed("version", const="2.0"), f"{P}/version/const", f"{P}/version/const"
    ),
    Change("const removed", changed("version", const=...), "", f"{P}/version/const"),
    Change(
        "const became an enum",
        changed("version", const=..., enum=["1.0", "1.1"]),
        "",
        f"{P}/version/const",
    ),
    Change(
        "alternative removed", changed("loss", anyOf=[{"type": "number"}]), f"{P}/loss/anyOf", ""
    ),
    Change(
        "alternative added",
        changed("loss", anyOf=[{"type": "number"}, {"type": "null"}, {"type": "string"}]),
        "",
        f"{P}/loss/anyOf",
    ),
    Change(
        "unknown members refused",
        lambda it: it.update(additionalProperties=False),
        "/additionalProperties",
        "/additionalProperties",
    ),
    Change(
        "unknown members limited",
        lambda it: it.update(additionalProperties={"type": "string"}),
        "/additionalProperties",
        "/additionalProperties",
    ),
    Change("unknown keyword", lambda it: it.update(minContains=1), "/minContains", "/minContains"),
    *(
        Change(f"new member: {name}", member(**schema), f"{P}/new{place}", f"{P}/new{place}")
        for name, (schema, place) in NEVER_NEW.items()
    ),
    Change(
        "new member that is never valid",
        lambda it: it["properties"].update(new=False),
        f"{P}/new",
        f"{P}/new",
    ),
    Change(
        "anyOf became oneOf",
        changed("loss", anyOf=..., oneOf=OLD["properties"]["loss"]["anyOf"]),
        f"{P}/loss/oneOf",
        f"{P}/loss/oneOf",
    ),
    Change(
        "limit beside alternatives",
        changed("loss", maximum=1),
        f"{P}/loss/maximum",
        f"{P}/loss/maximum",
    ),
    Change(
        "required beside alternatives",
        changed("loss", required=["a"]),
        f"{P}/loss/required",
        f"{P}/loss/required",
    ),
    Change(
        "required hidden by a keyword beside the reference",
        covered(required=["a/b", "c"]),
        f"{P}/part/required",
        f"{P}/part/required",
    ),
    Change(
        "member hidden by a keyword beside the reference",
        covered(properties={"a/b": {"type": "integer"}, "c": {"type": "string"}}),
        f"{P}/part/properties",
        f"{P}/part/properties",
    ),
    Change(
        "only null is left",
        changed("loss", anyOf=..., type="null"),
        f"{P}/loss/anyOf",
        f"{P}/loss/type",
    ),
    Change("length that no value has", changed("id", maxLength=0), f"{P}/id", f"{P}/id"),
    Change(
        "no alternative", changed("metric", anyOf=[]), f"{P}/metric", f"{P}/metric"
    ),
    Change(
        "enum without the const", changed("version", enum=["2.0"]), f"{P}/version", f"{P}/version"
    ),
    Change(
        "const beside an enum",
        changed("kind", const="a"),
        f"{P}/kind/const",
        "",
    ),
    Change(
        "other dialect",
        lambda it: it.update({"$schema": "http://json-schema.org/draft-04/schema#"}),
        "/$schema",
        "/$schema",
    ),
    Change("other id", lambda it: it.update({"$id": "urn:test:2"}), "/$id", "/$id"),
]  # fmt: skip
ALLOWED: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda _: None,
    "new optional member": added(is_required=False),
    "description": changed("id", description="other", title="Other", examples=["a"]),
    "order of enum values": changed("kind", enum=["b", "a"]),
    "description beside a reference": changed("part", description="other", default={}),
    "enum beside the const": changed("version", enum=["1.0", "1.1"]),
    "type as a list": changed("count", type=["integer"]),
    "integer beside number": changed(
        "loss", anyOf=[{"type": "integer"}, {"type": "null"}, {"type": "number"}]
    ),
    "alternatives as types": changed("loss", anyOf=..., type=["number", "null"]),
    "definition in place of a reference": lambda it: it["properties"].update(
        part=it["$defs"].pop("Part")
    ),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda it: it.name)
@pytest.mark.parametrize("direction", Direction)
def test_a_planted_break_is_found(change: Change, direction: Direction) -> None:
    """In the direction in which it breaks a reader, at its place, and nothing else."""
    new = copy.deepcopy(OLD)
    change.apply(new)
    breaks = breaking_changes(OLD, new, direction)
    expected = change.in_input if direction is Direction.INPUT else change.in_output
    assert {pointer for pointer, _ in breaks} == ({expected} if expected else set())
    assert all(" " in message for _, message in breaks)


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("direction", Direction)
def test_an_allowed_change_passes(name: str, direction: Direction) -> None:
    """In both directions."""
    new = copy.deepcopy(OLD)
    ALLOWED[name](new)
    assert breaking_changes(OLD, new, direction) == []
