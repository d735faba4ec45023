"""An HTTP endpoint that receives webhooks and answers with chosen status codes."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable


class Received(NamedTuple):
    """One request."""

    headers: dict[str, str]  # by their names in lower case
    body: bytes


class WebhookReceiver:
    """Receives webhooks in a thread; a context manager."""

    def __init__(self, statuses: Iterable[int], afterwards: int = 200) -> None:
        """Answer the first requests with these statuses, and all others with `afterwards`."""
        self.received: list[Received] = []
        left = list(statuses)
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                received.append(Received(headers, self.rfile.read(size)))
                self.send_response(left.pop(0) if left else afterwards)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        """Start to receive."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def wait_for(self, count: int) -> list[Received]:
        """Wait for this number of requests, and return all."""
        wait_until(lambda: len(self.received) >= count, what=f"{count} webhooks")
        return self.received
