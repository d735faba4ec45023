"""Serves requests in a thread; the base of the HTTP servers of the tests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

POLL_SECONDS = 0.02


class ServerThread:
    """A server on a free port; a context manager that starts and stops it."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        """Take a server whose port is open; entering the context starts it."""
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), daemon=True
        )

    def __enter__(self) -> Self:
        """Start the server."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self) -> str:
        """The address of the server, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"
