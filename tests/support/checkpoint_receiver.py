"""An HTTP receiver of checkpoints for tests: it keeps requests, and can refuse or hold them."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD_SECONDS = 60.0


class Request(NamedTuple):
    """A received request."""

    path: str
    headers: dict[str, str]
    document: dict[str, Any]


class CheckpointReceiver:
    """Answers `POST` with the next planned status, by default 202."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.statuses: list[int] = []  # of the next requests; then 202
        self.headers: dict[str, str] = {}  # of every response
        self.may_answer = threading.Event()  # clear it to hold every request open
        self.may_answer.set()
        self.answered = 0
        self.url = ""

    def has_answered(self, requests: int) -> bool:
        """Return whether it has answered at least this number of requests."""
        return self.answered >= requests

    @property
    def ids(self) -> list[str]:
        """Return the ids of all requests, in order."""
        return [str(request.document["id"]) for request in self.requests]


@contextmanager
def checkpoint_receiver() -> Iterator[CheckpointReceiver]:
    """Run a receiver on a free local port."""
    receiver = CheckpointReceiver()

    class Handler(BaseHTTPRequestHandler):
        """Keeps a request, waits if it is held, and answers."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(self.path, headers, json.loads(body)))
            receiver.may_answer.wait(HOLD_SECONDS)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 202)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            receiver.answered += 1

        def do_GET(self) -> None:
            """Answer a client that has followed a redirect."""
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield receiver
        finally:
            receiver.may_answer.set()
            server.shutdown()
            thread.join()
