"""The documents of the contract as text: one JSON Schema for each message, and AsyncAPI."""

from collections.abc import Iterator
from typing import Any

import msgspec

from consumer.config import Settings
from consumer.contract.asyncapi import asyncapi_document
from consumer.contract.messages import json_schema
from consumer.contract.names import ASYNCAPI, VERSIONS


def schema_text(name: str) -> bytes:
    """Return the JSON Schema of a message as indented JSON.

    Raises:
        KeyError: there is no such message.
    """
    return _text(json_schema(name))


def asyncapi_text(settings: Settings) -> bytes:
    """Return the AsyncAPI document as indented JSON."""
    return _text(asyncapi_document(settings))


def files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Yield each document: the path of its file, and its text."""
    for name in VERSIONS:
        yield f"json/{name}.json", schema_text(name)
    yield f"{ASYNCAPI}.json", asyncapi_text(settings)


def _text(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
