"""The AsyncAPI document passes the parser of AsyncAPI without errors, warnings or hints.

The parser applies these rules to a document of version 3. For each of the first six, a planted
error shows that the document is checked by it:

- `asyncapi-latest-version`: the document uses the newest version that the parser knows (a hint).
- `asyncapi-document-resolved`: the document is valid by the JSON Schema of AsyncAPI, with bindings,
  security schemes and message schemas, after its references are resolved.
- `asyncapi3-operation-messages-from-referred-channel`: an operation lists messages of its channel.
- `asyncapi3-required-operation-channel-unambiguity`: an operation refers to a channel of the root.
- `asyncapi3-channel-parameters`: each parameter in an address is defined.
- `invalid-ref`: each reference leads to something.
- `asyncapi-document-unresolved`: the same as the second rule, before references are resolved.
- `asyncapi3-channel-no-query-nor-fragment`, `asyncapi3-channel-servers` and
  `asyncapi3-required-channel-servers-unambiguity` are about names of channels and about servers of
  a single channel. All channels of this document are on all servers.

The parser checks the rules `asyncapi-id`, `asyncapi-defaultContentType`,
`asyncapi-info-description`, `asyncapi-info-license`, `asyncapi-info-license-url` and
`asyncapi-servers` only for version 2. `test_recommended_fields` checks them here. The document has
no `info.contact`, because each installation has its own operators.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.config import Settings
from consumer.contract.asyncapi import asyncapi_document
from dev.asyncapi_compatibility import ASYNCAPI, PRESENT
from tests.contract.tools import NodeFolder

if TYPE_CHECKING:
    from pathlib import Path

Document = dict[str, Any]
SEVERAL_INPUTS = {"CHECKPOINT_READY_INPUT_TOPICS": "one,two"}


def planted(document: Document) -> dict[str, Document]:
    """Return a broken copy of the document for each rule."""
    copies = {rule: copy.deepcopy(document) for rule in RULES}
    copies["asyncapi-latest-version"]["asyncapi"] = "3.0.0"
    kafka = copies["asyncapi-document-resolved"]["channels"]["ready"]["bindings"]["kafka"]
    kafka["partitions"] = "many"
    of_input = copies["asyncapi3-operation-messages-from-referred-channel"]["operations"]
    of_input["sendDeadLetter"]["messages"] = [{"$ref": "#/channels/ready/messages/readyEvent"}]
    elsewhere = copies["asyncapi3-required-operation-channel-unambiguity"]
    elsewhere["components"]["channels"] = {"ready": elsewhere["channels"]["ready"]}
    elsewhere["operations"]["sendReadyEvent"]["channel"] = {"$ref": "#/components/channels/ready"}
    ready = copies["asyncapi3-channel-parameters"]["channels"]["ready"]
    ready |= {"address": "{topic}", "parameters": {"other": {}}}
    headers = copies["invalid-ref"]["components"]["messages"]["deadLetter"]
    headers["headers"] = {"$ref": "#/components/schemas/Nothing"}
    return copies


RULES = (
    "asyncapi-latest-version",
    "asyncapi-document-resolved",
    "asyncapi3-operation-messages-from-referred-channel",
    "asyncapi3-required-operation-channel-unambiguity",
    "asyncapi3-channel-parameters",
    "invalid-ref",
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the parser reports about the document, and about the broken copies."""
    folder: Path = tmp_path_factory.mktemp("asyncapi")
    document = json.loads((PRESENT / ASYNCAPI).read_text())
    documents = {
        "document": document,
        "several inputs": asyncapi_document(Settings.load(SEVERAL_INPUTS)),
        **planted(document),
    }
    for name, content in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    paths = [str(folder / f"{name}.json") for name in documents]
    found = NodeFolder(folder).run("check-asyncapi.mjs", *paths)
    return dict(zip(documents, found, strict=True))


@pytest.mark.parametrize("name", ["document", "several inputs"])
def test_the_parser_reports_nothing(reports: dict[str, Any], name: str) -> None:
    """No error, no warning, no hint, and every operation is found."""
    assert reports[name]["diagnostics"] == []
    inputs = [["one"], ["two"]] if name == "several inputs" else [["fine-tuning.checkpoints"]]
    checkpoints = ["checkpoint", "checkpoint-sdk"]
    events = ["ready-event", "ready-event-binary"]
    ready = "fine-tuning.checkpoint-ready"
    assert reports[name]["operations"] == [
        *({"action": "receive", "topics": it, "messages": checkpoints} for it in inputs),
        {"action": "send", "topics": [ready], "messages": events},
        {"action": "send", "topics": [ready], "messages": ["check-event", "check-event-binary"]},
        {
            "action": "send",
            "topics": ["fine-tuning.checkpoints.dead-letters"],
            "messages": ["dead-letter"],
        },
        {"action": "send", "topics": [f"{ready}.replay"], "messages": events},
    ]


@pytest.mark.parametrize("rule", RULES)
def test_the_parser_reports_a_planted_error(reports: dict[str, Any], rule: str) -> None:
    """So each rule is applied."""
    assert rule in {it["code"] for it in reports[rule]["diagnostics"]}


def test_recommended_fields() -> None:
    """The rules that the parser applies to version 2 only."""
    document = asyncapi_document(Settings.load({}))
    assert document["id"]
    assert document["defaultContentType"]
    assert document["info"]["description"]
    assert document["info"]["license"]["name"]
    assert document["info"]["license"]["url"]
    assert document["servers"]


def test_each_way_to_connect_has_its_security_schemes() -> None:
    """One server for each value of SECURITY_PROTOCOL, with the mechanisms of SASL_MECHANISM."""
    document = asyncapi_document(Settings.load({}))
    schemes = document["components"]["securitySchemes"]
    found = {
        name: (
            server["protocol"],
            [schemes[one["$ref"].rsplit("/")[-1]]["type"] for one in server.get("security", [])],
        )
        for name, server in document["servers"].items()
    }
    passwords = ["plain", "scramSha256", "scramSha512"]
    assert found == {
        "plaintext": ("kafka", []),
        "tls": ("kafka-secure", ["X509"]),
        "saslPlaintext": ("kafka", passwords),
        "saslTls": ("kafka-secure", passwords),
    }
