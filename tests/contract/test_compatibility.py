"""The present contract breaks no released version, and a planted break of the document is found."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from consumer.contract.asyncapi import VERSION
from dev.asyncapi_compatibility import (
    ASYNCAPI,
    DIRECTIONS,
    PRESENT,
    contract_changes,
    document_changes,
    main,
    released_versions,
)
from dev.released_contract import RELEASED, SUMS, unpinned
from dev.released_contract import main as pin
from dev.schema_compatibility import Direction, breaking_changes

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


def kafka(part: dict[str, Any]) -> dict[str, Any]:
    """Return the binding of a part for Kafka."""
    found: dict[str, Any] = part["bindings"]["kafka"]
    return found


MESSAGES = "/components/messages"
READY_MODEL = f"{MESSAGES}/readyEvent/payload/properties/data/properties/model/properties"
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
    "value of the key changed": (
        lambda it: kafka(messages(it, "readyEvent"))["key"].update(const="a"),
        f"{MESSAGES}/readyEvent/bindings/kafka/key/const",
    ),
    "meaning of the key changed": (
        lambda it: kafka(messages(it, "readyEvent"))["key"].update(description="Any id."),
        f"{MESSAGES}/readyEvent/bindings/kafka/key/description",
    ),
    "topic of the binding changed": (
        lambda it: kafka(it["channels"]["ready"]).update(topic="other"),
        "/channels/ready/bindings",
    ),
    "compacted topic": (
        lambda it: kafka(it["channels"]["ready"]).update(
            topicConfiguration={"cleanup.policy": ["compact"]}
        ),
        "/channels/ready/bindings",
    ),
    "channel on some servers": (
        lambda it: it["channels"]["ready"].update(servers=[{"$ref": "#/servers/saslTls"}]),
        "/channels/ready/servers",
    ),
    "group changed": (
        lambda it: kafka(it["operations"]["receiveCheckpoints"])["groupId"].update(const="x"),
        "/operations/receiveCheckpoints/bindings",
    ),
    "correlation id changed": (
        lambda it: messages(it, "readyEvent").update(
            correlationId={"location": "$message.payload#/subject"}
        ),
        f"{MESSAGES}/readyEvent/correlationId",
    ),
    "schema id in the value": (
        lambda it: kafka(messages(it, "readyEvent")).update(schemaIdLocation="payload"),
        f"{MESSAGES}/readyEvent/bindings",
    ),
    "trait added": (
        lambda it: messages(it, "readyEvent").update(traits=[{"contentType": "text/plain"}]),
        f"{MESSAGES}/readyEvent/traits",
    ),
    "name of a message changed": (
        lambda it: messages(it, "readyEvent").update(name="ready"),
        f"{MESSAGES}/readyEvent/name",
    ),
    "default content type changed": (
        lambda it: it.update(defaultContentType="application/xml"),
        "/defaultContentType",
    ),
    "host changed": (
        lambda it: it["servers"]["tls"].update(host="kafka:9093"),
        "/servers/tls/host",
    ),
    "mechanism replaced under the same name": (
        lambda it: it["components"]["securitySchemes"]["plain"].update(type="oauth2"),
        "/servers/saslTls/security",
    ),
    "new field that is never valid": (
        lambda it: struct(it, "Checkpoint").update(status={"not": {}}),
        f"{MESSAGES}/checkpoint/payload/properties/status/not",
    ),
    "closed object as a new field": (
        lambda it: struct(it, "Model").update(more={"additionalProperties": False}),
        f"{READY_MODEL}/more/additionalProperties",
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
    """A new channel, operation, server and optional field, other texts, and another input form."""
    old, new = present(), present()
    new["channels"]["more"] = new["channels"]["ready"]
    new["operations"]["sendMore"] = new["operations"]["sendReadyEvent"]
    new["servers"]["more"] = new["servers"]["tls"]
    new["info"]["description"] = "other"
    new["asyncapi"] = "3.2.0"
    texts = {"description": "other", "title": "Other", "tags": []}
    for part in (new["servers"]["tls"], new["channels"]["ready"], messages(new, "readyEvent")):
        part.update(texts)
    new["operations"]["sendReadyEvent"].update(texts)
    messages(new, "readyEvent")["examples"] = []
    kafka(new["channels"]["ready"])["bindingVersion"] = "0.6.0"
    struct(new, "Model")["more"] = {"type": "string"}
    struct(new, "Checkpoint")["status"] = {"type": "string"}
    new["operations"]["receiveCheckpoints"]["messages"].append(
        {"$ref": "#/channels/ready/messages/readyEvent"}
    )
    assert document_changes(old, new) == []


def test_the_present_contract_keeps_the_rules_of_the_comparison() -> None:
    """Also a message that is in no released version, so that the next version can be compared."""
    assert document_changes(present(), present()) == []
    for path in (PRESENT / "json").iterdir():
        schema = json.loads(path.read_text())
        assert breaking_changes(schema, schema, Direction.OUTPUT) == []


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


def test_the_copies_are_as_they_were_released() -> None:
    """A changed copy would hide a break of the same kind in the present contract."""
    assert unpinned(RELEASED) == []


def test_a_changed_copy_is_found(tmp_path: Path) -> None:
    """A changed, removed or new file; and the command adds the digests of new files alone."""
    copies = tmp_path / "released"
    shutil.copytree(RELEASED, copies)
    sums = (copies / SUMS).read_text()
    (copies / "1.99").mkdir()
    (copies / "1.99" / ASYNCAPI).write_text("{}")
    assert [one.split(";")[0] for one in unpinned(copies)] == [
        f"{SUMS}: 1.99/{ASYNCAPI} has no digest"
    ]
    assert pin(copies) == 0
    assert unpinned(copies) == []
    assert set(sums.splitlines()) < set((copies / SUMS).read_text().splitlines())

    (copies / "1.99" / ASYNCAPI).write_text("{ }")
    (copies / "1.0" / "json" / "checkpoint.json").unlink()
    expected = [
        f"{SUMS}: 1.0/json/checkpoint.json was removed after its release",
        f"{SUMS}: 1.99/{ASYNCAPI} changed after its release",
    ]
    before = (copies / SUMS).read_text()
    assert unpinned(copies) == expected
    assert pin(copies) == 1
    assert (copies / SUMS).read_text() == before


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


def test_a_changed_copy_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although the present contract breaks no version."""
    shutil.copytree(RELEASED, tmp_path, dirs_exist_ok=True)
    (version, *_) = released_versions()
    (tmp_path / version.name / ASYNCAPI).write_text("{}")
    monkeypatch.setattr("dev.asyncapi_compatibility.RELEASED", tmp_path)
    assert main() == 1
    name = f"{version.name}/{ASYNCAPI}"
    assert capsys.readouterr().err == f"{SUMS}: {name} changed after its release\n"
