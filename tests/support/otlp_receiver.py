"""A trace collector for tests: it receives OTLP over HTTP (protobuf) and keeps the spans."""

from __future__ import annotations

import gzip
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.server_thread import ServerThread
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRACES_PATH = "/v1/traces"


class ReceivedSpan(NamedTuple):
    """A received span, with its fields as plain values."""

    span: Any
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.span.name)

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes."""
        return _plain(self.span.attributes)

    @property
    def trace_id(self) -> str:
        """Its trace, in hex."""
        return bytes(self.span.trace_id).hex()

    @property
    def linked(self) -> list[str]:
        """The trace of each link, in hex."""
        return [bytes(link.trace_id).hex() for link in self.span.links]

    def link_attributes(self, index: int) -> dict[str, Any]:
        """Return the attributes of a link."""
        return _plain(self.span.links[index].attributes)


class OtlpReceiver(ServerThread):
    """A server on a free port; a context manager that stops it."""

    def __init__(self) -> None:
        """Open the port; entering the context starts the server."""
        self.spans: list[ReceivedSpan] = []
        self.is_refusing = False
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), self._handler()))

    @property
    def endpoint(self) -> str:
        """The URL for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return self.origin

    def wait_for(self, is_wanted: Callable[[ReceivedSpan], bool]) -> ReceivedSpan:
        """Wait for a span that meets the condition, and return the first."""
        return wait_until(
            lambda: next(filter(is_wanted, self.spans), None), what=f"a span ({self._names()})"
        )

    def named(self, name: str) -> list[ReceivedSpan]:
        """Return the received spans of this name."""
        return [span for span in self.spans if span.name == name]

    def _names(self) -> set[str]:
        return {span.name for span in self.spans}

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            resource = _plain(of_resource.resource.attributes)
            self.spans += [
                ReceivedSpan(span, resource)
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                is_taken = self.path == TRACES_PATH and not receiver.is_refusing
                if is_taken:
                    receiver._take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if is_taken else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


@contextmanager
def deaf_endpoint(*, is_listening: bool) -> Iterator[str]:
    """Yield the URL of a collector that refuses connections, or accepts them and never responds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if is_listening:
            listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _plain(attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - protobuf's container
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in attributes}
