"""A request and its answer, without the machinery of the server."""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

JSON: Final = "application/json"
_HEADER_OVERHEAD_BYTES: Final = 4  # ": " and the end of the line
_LINE_OVERHEAD_BYTES: Final = 13  # two spaces, "?", "HTTP/1.1" and the end of the line
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


class IngestRequest:
    """The headers of a request, and how much of its body was received."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], line_bytes: int = 0) -> None:
        """Take the headers, whose names are in lower case, and the size of the request line."""
        self.headers: dict[bytes, list[bytes]] = {}
        self.head_bytes = line_bytes
        for name, value in headers:
            self.headers.setdefault(name, []).append(value)
            self.head_bytes += len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        self.has_token = False
        """Whether the head was checked and has a token that is known."""
        self.content_type = ""
        """The media type, as soon as the head was checked."""
        self.body_bytes = 0
        self.reserved_bytes = 0
        """Memory that is reserved for this request."""

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> Self:
        """Return the request of an ASGI scope."""
        target = len(scope.get("raw_path", b"")) + len(scope.get("query_string", b""))
        return cls(scope["headers"], len(scope["method"]) + target + _LINE_OVERHEAD_BYTES)

    @property
    def announced_bytes(self) -> int:
        """The value of Content-Length; 0 without a valid one."""
        values = self.headers.get(b"content-length", ())
        return int(values[0]) if values and _LENGTH.fullmatch(values[0]) else 0


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    document: dict[str, Any]
    headers: Mapping[str, str] = MappingProxyType({})
    content_type: str = JSON

    def log_fields(self) -> Iterator[tuple[str, Any]]:
        """Yield the parts of the answer that are logged. No part of a payload is among them."""
        for name, field in (("accepted", "accepted"), ("event", "outcome"), ("detail", "detail")):
            if name in self.document:
                yield field, self.document[name]
        if "invalid" in self.document:
            yield "invalid", len(self.document["invalid"])
