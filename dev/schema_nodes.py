"""The parts of a JSON Schema, and the keywords that the comparison of the contract knows."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]

ROOT_ONLY: Final = frozenset({"$schema", "$id", "$defs"})
"""The keywords that are allowed only at the root of a document."""
# They describe a value, and no value is valid or invalid by them.
DESCRIBING: Final = frozenset({
    "$comment", "title", "description", "examples", "default", "deprecated",
})  # fmt: skip
LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
EXACT: Final = ("format", "pattern", "contentEncoding", "contentMediaType", "multipleOf")
COMPARED: Final = frozenset({
    "type", "const", "enum", "properties", "required", "items", "anyOf",
    *LOWER_BOUNDS, *UPPER_BOUNDS, *EXACT,
})  # fmt: skip


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

        Keywords beside a reference must only describe (`dev.schema_rules` reports others).

        Raises:
            KeyError: a reference points to nothing.
        """
        part: Any = {} if schema is True else {"not": {}} if schema is False else schema
        while "$ref" in part:
            target: Any = self.root
            for name in part["$ref"].removeprefix("#/").split("/"):
                target = target[unescaped(name)]
            part = target
        return Node(part, self.root)

    def expanded(self, value: object) -> Any:  # noqa: ANN401 - any JSON
        """Return a value of the document with the target of each reference in its place.

        Raises:
            KeyError: a reference points to nothing.
        """
        if isinstance(value, list):
            return [self.expanded(one) for one in value]
        if not isinstance(value, dict):
            return value
        found = self.at(value).schema if isinstance(value.get("$ref"), str) else value
        return {name: self.expanded(one) for name, one in found.items()}


def escaped(name: str) -> str:
    """Return a name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def unescaped(name: str) -> str:
    """Return the name that a part of a JSON pointer stands for."""
    return name.replace("~1", "/").replace("~0", "~")
