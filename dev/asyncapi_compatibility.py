"""Finds breaking changes between two versions of the AsyncAPI document, and of the whole contract.

`python -m dev.asyncapi_compatibility` compares the documents in `schemas/` with each released
version that has the same major number, and ends with exit code 1 if one has a breaking change.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dev.schema_compatibility import Break, Direction, Node, breaking_changes, escaped, node_changes

Part = dict[str, Any]

ROOT: Final = Path(__file__).parents[1]
PRESENT: Final = ROOT / "schemas"
RELEASED: Final = PRESENT / "released"
ASYNCAPI: Final = "asyncapi.json"
DIRECTIONS: Final = {
    "checkpoint": Direction.INPUT,
    "checkpoint-sdk": Direction.INPUT,
}
"""The direction of each JSON Schema by its name. The others are for the output."""
OF_ACTION: Final = {"receive": Direction.INPUT, "send": Direction.OUTPUT}


def document_changes(old: Part, new: Part) -> list[Break]:
    """Return the breaking changes from the old AsyncAPI document to the new one."""
    return [*_server_changes(old, new), *_channel_changes(old, new), *_operation_changes(old, new)]


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


def _schemes(root: Part, server: Part) -> set[str]:
    """Return the types of the security schemes that a server allows."""
    return {Node(one, root).at(one).schema["type"] for one in server.get("security", ())}


def _channel_changes(old: Part, new: Part) -> Iterator[Break]:
    for name, channel in old["channels"].items():
        place = f"/channels/{escaped(name)}"
        now = new["channels"].get(name)
        if now is None:
            yield Break(place, f"the channel {name} was removed or renamed")
        elif channel["address"] != now["address"]:
            yield Break(f"{place}/address", _changed("the topic", channel, now, "address"))


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
        messages = before[name], after[name]
        kinds = [
            message.get("contentType", root.get("defaultContentType"))
            for message, root in zip(messages, (old, new), strict=True)
        ]
        where = f"/components/messages/{escaped(name)}"
        if kinds[0] != kinds[1]:
            text = f"the content type changed from {kinds[0]} to {kinds[1]}"
            yield Break(f"{where}/contentType", text)
        for part in ("headers", "payload"):
            nodes = [
                Node(message.get(part, {}), root)
                for message, root in zip(messages, (old, new), strict=True)
            ]
            yield from node_changes(nodes[0], nodes[1], direction, f"{where}/{part}")
        keys = [
            Node(message.get("bindings", {}).get("kafka", {}).get("key", {}), root)
            for message, root in zip(messages, (old, new), strict=True)
        ]
        yield from node_changes(keys[0], keys[1], direction, f"{where}/bindings/kafka/key")


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
    return 1 if breaks else 0


if __name__ == "__main__":
    sys.exit(main())
