"""Finds breaking changes between two versions of the AsyncAPI document, and of the whole contract.

`python -m dev.asyncapi_compatibility` compares the documents in `schemas/` with each released
version that has the same major number, and ends with exit code 1 if one has a breaking change, or
if a copy of a released version is not as it was released.

A part of the AsyncAPI document without a rule of its own must not change, except for descriptions
and examples. So this check fails rather than miss a change.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dev.released_contract import RELEASED, unpinned
from dev.schema_compatibility import Direction, breaking_changes, node_changes
from dev.schema_nodes import Break, Node, escaped

Part = dict[str, Any]

ROOT: Final = Path(__file__).parents[1]
PRESENT: Final = ROOT / "schemas"
ASYNCAPI: Final = "asyncapi.json"
DIRECTIONS: Final = {
    "checkpoint": Direction.INPUT,
    "checkpoint-sdk": Direction.INPUT,
}
"""The direction of each JSON Schema by its name. The others are for the output."""
DESCRIBING: Final = frozenset({
    "bindingVersion", "description", "examples", "externalDocs", "summary", "tags", "title",
})  # fmt: skip
"""The fields of AsyncAPI that change nothing on the wire."""
OWN_RULE: Final = {
    "root": frozenset({"asyncapi", "info", "servers", "channels", "operations", "components"}),
    "server": frozenset({"protocol", "security"}),
    "channel": frozenset({"address", "messages"}),
    "operation": frozenset({"action", "channel", "messages"}),
    "message": frozenset({"contentType", "headers", "payload"}),
}
"""The fields of each object that are not compared for equality."""
OF_ACTION: Final = {"receive": Direction.INPUT, "send": Direction.OUTPUT}


def document_changes(old: Part, new: Part) -> list[Break]:
    """Return the breaking changes from the old AsyncAPI document to the new one."""
    roots = Node(old, old), Node(new, new)
    return [
        *_other_changes(*roots, "root", ""),
        *_server_changes(old, new),
        *_channel_changes(old, new),
        *_operation_changes(old, new),
    ]


def contract_changes(old: Path, new: Path) -> list[Break]:
    """Return the breaking changes between two directories of exported documents.

    Each pointer begins with the file.
    """
    breaks = []
    for path in sorted(old.rglob("*.json")):
        name = str(path.relative_to(old))
        if not (new / name).is_file():
            breaks.append(Break(name, "the document was removed or renamed"))
            continue
        before, after = _read(path), _read(new / name)
        if name == ASYNCAPI:
            found = document_changes(before, after)
        else:
            direction = DIRECTIONS.get(path.stem, Direction.OUTPUT)
            found = breaking_changes(before, after, direction)
        breaks += [Break(f"{name}#{pointer}", message) for pointer, message in found]
    return breaks


def released_versions(present: Path = PRESENT, released: Path = RELEASED) -> list[Path]:
    """Return the directories of the released versions that the present contract must not break."""
    major = _read(present / ASYNCAPI)["info"]["version"].split(".")[0]
    return sorted(path for path in released.iterdir() if path.name.split(".")[0] == major)


def _server_changes(old: Part, new: Part) -> Iterator[Break]:
    for name, server in old["servers"].items():
        place = f"/servers/{escaped(name)}"
        now = new["servers"].get(name)
        if now is None:
            yield Break(place, f"the way {name} to connect was removed or renamed")
            continue
        if server["protocol"] != now["protocol"]:
            yield Break(f"{place}/protocol", _changed("protocol", server, now))
        before, after = (_schemes(root, it) for root, it in ((old, server), (new, now)))
        for scheme in sorted(before - after):
            yield Break(f"{place}/security", f"{name} does not allow {scheme} any more")
        if after and not before:
            yield Break(f"{place}/security", f"{name} needs a login now")
        yield from _other_changes(Node(server, old), Node(now, new), "server", place)


def _schemes(root: Part, server: Part) -> set[str]:
    """Return the security schemes that a server allows, each as JSON."""
    schemes = _undescribed(Node(server, root).expanded(server.get("security", [])))
    return {json.dumps(one, sort_keys=True) for one in schemes}


def _other_changes(old: Node, new: Node, kind: str, place: str) -> Iterator[Break]:
    """Compare each field that has no rule of its own: it must be equal."""
    for name in sorted((old.schema.keys() | new.schema.keys()) - OWN_RULE[kind] - DESCRIBING):
        before, after = (_undescribed(it.expanded(it.schema.get(name))) for it in (old, new))
        if kind == "message" and name == "bindings":
            before, after = _without_key(before), _without_key(after)
        if before != after:
            yield Break(f"{place}/{escaped(name)}", f"{name} of this {kind} changed")


def _undescribed(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the value without descriptions. An object with such a name stays: it has a meaning."""
    if isinstance(value, list):
        return [_undescribed(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _undescribed(one)
        for name, one in value.items()
        if name not in DESCRIBING or (isinstance(one, dict) and name != "externalDocs")
    }


def _without_key(bindings: Part | None) -> Part:
    """Return the bindings of a message without the key of the record."""
    found = bindings or {}
    kafka = {name: one for name, one in found.get("kafka", {}).items() if name != "key"}
    return {**found, "kafka": kafka}


def _channel_changes(old: Part, new: Part) -> Iterator[Break]:
    for name, channel in old["channels"].items():
        place = f"/channels/{escaped(name)}"
        now = new["channels"].get(name)
        if now is None:
            yield Break(place, f"the channel {name} was removed or renamed")
            continue
        if channel["address"] != now["address"]:
            yield Break(f"{place}/address", _changed("the topic", channel, now, "address"))
        yield from _other_changes(Node(channel, old), Node(now, new), "channel", place)


def _operation_changes(old: Part, new: Part) -> Iterator[Break]:
    for name, operation in old["operations"].items():
        place = f"/operations/{escaped(name)}"
        now = new["operations"].get(name)
        if now is None:
            yield Break(place, f"the operation {name} was removed or renamed")
            continue
        if operation["action"] != now["action"]:
            yield Break(f"{place}/action", _changed("action", operation, now))
            continue
        if operation["channel"] != now["channel"]:
            yield Break(f"{place}/channel", _changed("channel", operation, now))
        yield from _other_changes(Node(operation, old), Node(now, new), "operation", place)
        if now["channel"]["$ref"].rsplit("/", 1)[1] not in new["channels"]:
            continue  # reported as a removed channel
        yield from _message_changes(old, new, operation, now, place)


def _message_changes(
    old: Part, new: Part, operation: Part, now: Part, place: str
) -> Iterator[Break]:
    direction = OF_ACTION[operation["action"]]
    before, after = _messages(old, operation), _messages(new, now)
    for name in sorted(before.keys() - after.keys()):
        yield Break(f"{place}/messages", f"the message {name} was removed or renamed")
    if direction is Direction.OUTPUT:
        for name in sorted(after.keys() - before.keys()):
            yield Break(f"{place}/messages", f"the message {name} is new; subscribers may get it")
    for name in sorted(before.keys() & after.keys()):
        nodes = Node(before[name], old), Node(after[name], new)
        yield from _one_message(*nodes, direction, f"/components/messages/{escaped(name)}")


def _one_message(old: Node, new: Node, direction: Direction, place: str) -> Iterator[Break]:
    kinds = [it.schema.get("contentType", it.root.get("defaultContentType")) for it in (old, new)]
    if kinds[0] != kinds[1]:
        text = f"the content type changed from {kinds[0]} to {kinds[1]}"
        yield Break(f"{place}/contentType", text)
    for part in ("headers", "payload"):
        parts = [Node(it.schema.get(part, {}), it.root) for it in (old, new)]
        yield from node_changes(parts[0], parts[1], direction, f"{place}/{part}")
    yield from _key_changes(old, new, f"{place}/bindings/kafka/key")
    yield from _other_changes(old, new, "message", place)


def _key_changes(old: Node, new: Node, place: str) -> Iterator[Break]:
    """Compare the keys of the records for equality. Only the description says what a key is."""
    before, after = (
        it.expanded(it.schema.get("bindings", {})).get("kafka", {}).get("key", {})
        for it in (old, new)
    )
    for keyword in sorted((before.keys() | after.keys()) - {"examples"}):
        if before.get(keyword) != after.get(keyword):
            text = f"{keyword} of the key changed; it decides the partition and the order"
            yield Break(f"{place}/{escaped(keyword)}", text)


def _messages(root: Part, operation: Part) -> dict[str, Part]:
    """Return the messages of an operation by their names."""
    references = operation["messages"]
    return {one["$ref"].rsplit("/", 1)[1]: Node(one, root).at(one).schema for one in references}


def _changed(what: str, old: Part, new: Part, field: str = "") -> str:
    return f"{what} changed from {old[field or what]} to {new[field or what]}"


def _read(path: Path) -> Part:
    document: Part = json.loads(path.read_text())
    return document


def main() -> int:
    """Print each breaking change; return the exit code."""
    breaks = [
        (version.name, one)
        for version in released_versions()
        for one in contract_changes(version, PRESENT)
    ]
    for version, (pointer, message) in breaks:
        print(f"since {version}: {pointer}: {message}", file=sys.stderr)
    changed = unpinned(RELEASED)
    for message in changed:
        print(message, file=sys.stderr)
    return 1 if breaks or changed else 0


if __name__ == "__main__":
    sys.exit(main())
