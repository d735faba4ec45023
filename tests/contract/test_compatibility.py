"""The present contract breaks no released version, and a planted break of the document is found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.contract.asyncapi import VERSION
from dev.asyncapi_compatibility import (
    ASYNCAPI,
    DIRECTIONS,
    PRESENT,
    RELEASED,
    contract_changes,
    document_changes,
    main,
    released_versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def present() -> dict[str, Any]:
    """Return the checked-in AsyncAPI document."""
    document: dict[str, Any] = json.loads((PRESENT / ASYNCAPI).read_text())
    return document


def messages(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a message of the document."""
    found: dict[str, Any] = document["components"]["messages"][name]
    return found


def struct(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the properties of a struct of the document."""
    found: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return found


MESSAGES = "/components/messages"
DOCUMENT_BREAKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "topic changed": (
        lambda it: it["channels"]["ready"].update(address="ready"),
        "/channels/ready/address",
    ),
    "channel removed": (lambda it: it["channels"].pop("replay"), "/channels/replay"),
    "operation removed": (
        lambda it: it["operations"].pop("sendReplayedEvent"),
        "/operations/sendReplayedEvent",
    ),
    "operation turned": (
        lambda it: it["operations"]["sendDeadLetter"].update(action="receive"),
        "/operations/sendDeadLetter/action",
    ),
    "operation on another channel": (
        lambda it: it["operations"]["sendDeadLetter"].update(channel={"$ref": "#/channels/ready"}),
        "/operations/sendDeadLetter/channel",
    ),
    "message removed": (
        lambda it: it["operations"]["receiveCheckpoints"]["messages"].pop(),
        "/operations/receiveCheckpoints/messages",
    ),
    "new message for subscribers": (
        lambda it: it["operations"]["sendDeadLetter"]["messages"].append(
            {"$ref": "#/channels/ready/messages/readyEvent"}
        ),
        "/operations/sendDeadLetter/messages",
    ),
    "content type changed": (
        lambda it: messages(it, "readyEvent").update(contentType="application/json"),
        f"{MESSAGES}/readyEvent/contentType",
    ),
    "content type left to the default": (
        lambda it: messages(it, "deadLetter").pop("contentType"),
        f"{MESSAGES}/deadLetter/contentType",
    ),
    "header removed": (
        lambda it: struct(it, "DeadLetterHeaders").pop("checkpoint-ready.reason"),
        f"{MESSAGES}/deadLetter/headers/properties/checkpoint-ready.reason",
    ),
    "all headers removed": (
        lambda it: messages(it, "deadLetter").pop("headers"),
        f"{MESSAGES}/deadLetter/headers/type",
    ),
    "new reason": (
        lambda it: it["components"]["schemas"]["Reason"]["enum"].append("unlucky"),
        f"{MESSAGES}/deadLetter/headers/properties/checkpoint-ready.reason/enum",
    ),
    "field removed from the event": (
        lambda it: struct(it, "ReadyEvent").pop("subject"),
        f"{MESSAGES}/readyEvent/payload/properties/subject",
    ),
    "field required in the input": (
        lambda it: it["components"]["schemas"]["SdkCheckpoint"]["required"].append("status"),
        f"{MESSAGES}/checkpointSdk/payload/required",
    ),
    "key changed": (
        lambda it: messages(it, "readyEvent")["bindings"]["kafka"]["key"].update(type="integer"),
        f"{MESSAGES}/readyEvent/bindings/kafka/key/type",
    ),
    "server removed": (lambda it: it["servers"].pop("tls"), "/servers/tls"),
    "protocol changed": (
        lambda it: it["servers"]["tls"].update(protocol="kafka"),
        "/servers/tls/protocol",
    ),
    "mechanism removed": (
        lambda it: it["servers"]["saslTls"]["security"].pop(),
        "/servers/saslTls/security",
    ),
    "login needed": (
        lambda it: it["servers"]["plaintext"].update(security=it["servers"]["tls"]["security"]),
        "/servers/plaintext/security",
    ),
}


@pytest.mark.parametrize("name", DOCUMENT_BREAKS)
def test_a_planted_break_of_the_document_is_found(name: str) -> None:
    """At its place; a part that two messages share is reported for each of them."""
    apply, pointer = DOCUMENT_BREAKS[name]
    old, new = present(), present()
    apply(new)
    found = {one.pointer for one in document_changes(old, new)}
    assert pointer in found
    assert len({one.rsplit("/", 1)[1] for one in found}) == 1


def test_allowed_changes_of_the_document_pass() -> None:
    """A new channel, operation, server and optional field, and an optional input form."""
    old, new = present(), present()
    new["channels"]["more"] = new["channels"]["ready"]
    new["operations"]["sendMore"] = new["operations"]["sendReadyEvent"]
    new["servers"]["more"] = new["servers"]["tls"]
    new["info"]["description"] = "other"
    struct(new, "Model")["more"] = {"type": "string"}
    struct(new, "Checkpoint")["status"] = {"type": "string"}
    new["operations"]["receiveCheckpoints"]["messages"].append(
        {"$ref": "#/channels/ready/messages/readyEvent"}
    )
    assert document_changes(old, new) == []


@pytest.mark.parametrize("version", released_versions(), ids=lambda it: it.name)
def test_the_contract_breaks_no_released_version(version: Path) -> None:
    """docs/compatibility.md says what may change; `python -m dev.asyncapi_compatibility` checks."""
    assert contract_changes(version, PRESENT) == []


def test_there_is_a_released_version_to_compare_with() -> None:
    """The check is not empty, and the version of the contract is at least the newest copy's."""
    names = [tuple(map(int, path.name.split("."))) for path in released_versions()]
    assert names
    assert max(names) <= tuple(map(int, VERSION.split(".")[:2]))
    for path in released_versions():
        assert {it.stem for it in (path / "json").iterdir()} >= set(DIRECTIONS)


def test_a_break_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file is compared in its direction, and a missing file is a break."""
    assert main() == 0
    (version, *_) = released_versions()
    for path in version.rglob("*.json"):
        document = json.loads(path.read_text())
        if path.stem in {"checkpoint", "ready-event-headers"}:
            document["required"].pop()
            document["required"].append("more")
        if path.stem != "checkpoint-sdk":
            copied = tmp_path / path.relative_to(version)
            copied.parent.mkdir(exist_ok=True)
            copied.write_text(json.dumps(document))
    monkeypatch.setattr("dev.asyncapi_compatibility.PRESENT", tmp_path)
    monkeypatch.setattr(
        "dev.asyncapi_compatibility.released_versions", lambda: [RELEASED / version.name]
    )
    assert main() == 1
    lines = capsys.readouterr().err.splitlines()
    starts = [line.split(": ")[1] for line in lines]
    assert starts == [
        "json/checkpoint-sdk.json",
        "json/checkpoint.json#/required",
        "json/ready-event-headers.json#/required",
    ]
