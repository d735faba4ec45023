"""A request and its answer, without the machinery of the server."""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple

JSON: Final = "application/json"
_HEADER_OVERHEAD_BYTES: Final = 4  # ": " and the end of the line
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


class IngestRequest:
    """The headers of a request, and how much of its body was received."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the headers, whose names are in lower case."""
        self.headers: dict[bytes, list[bytes]] = {}
        self.head_bytes = 0
        for name, value in headers:
            self.headers.setdefault(name, []).append(value)
            self.head_bytes += len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        self.content_type = ""
        """The media type, as soon as the head was checked."""
        self.body_bytes = 0
        self.reserved_bytes = 0
        """Memory that is reserved for this request."""

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
