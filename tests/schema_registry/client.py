"""Runs ``client_program.py``, Confluent's client of a schema registry, in its own environment."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from dev.toolchains import python_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
REQUIREMENTS: Final = ROOT / "requirements" / "schema-registry.txt"
PROGRAM: Final = Path(__file__).with_name("client_program.py")
OWN_SCHEMAS: Final = "mock://"
END_SECONDS: Final = 10

Header = tuple[str, bytes | None]


class Serialized(NamedTuple):
    """What a serializer returns: the value, and the headers that it adds."""

    value: bytes
    headers: list[Header]


class RegistryClient:
    """One process of the program; a context manager that ends it.

    By default it is no registry: the client keeps the schemas, and it gives them ids and GUIDs.
    SCHEMA_REGISTRY_URL is the address of a registry to use instead.
    """

    def __init__(self) -> None:
        url = os.environ.get("SCHEMA_REGISTRY_URL", OWN_SCHEMAS)
        command = [str(python_environment(REQUIREMENTS)), str(PROGRAM), url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the input of the program, which ends it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        finally:
            self._process.kill()
            self._process.stdout.close()

    def register(self, subject: str, schema: str) -> str:
        """Register a schema and return its GUID."""
        guid = self._ask(command="register", subject=subject, schema=schema)["guid"]
        assert isinstance(guid, str), "this registry has no GUIDs"
        return guid

    def serialize(self, framing: str, topic: str, schema: str, document: object) -> Serialized:
        """Serialize a document, with the schema id in a header or in a prefix of the value."""
        answer = self._ask(
            command="serialize", framing=framing, topic=topic, schema=schema, document=document
        )
        headers: list[Header] = [
            (name, base64.b64decode(content)) for name, content in answer["headers"]
        ]
        return Serialized(base64.b64decode(answer["value"]), headers)

    def deserialize(self, topic: str, value: bytes | None, headers: Sequence[Header]) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return the document in a value, validated with its schema.

        Raises:
            ValueError: the client refuses the value. The message is the client's.
        """
        answer = self._ask(
            command="deserialize",
            topic=topic,
            value=base64.b64encode(value or b"").decode(),
            headers=[(name, base64.b64encode(found or b"").decode()) for name, found in headers],
        )
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["document"]

    def _ask(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        assert answer, "the program has ended; its error is above"
        return answer
