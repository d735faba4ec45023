"""The API server in the hands of a node agent: JSON over HTTPS with a token, nothing more."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Object = dict[str, Any]

TIMEOUT_SECONDS = 20.0
PLAIN = "application/json"
# Lists with a key, as conditions by their type, are merged; plain merging would replace them.
STRATEGIC = "application/strategic-merge-patch+json"
NOT_FOUND, CONFLICT, TOO_MANY, SERVER_ERRORS = 404, 409, 429, 500
TRIES, PAUSE_SECONDS = 5, 1.0


class ApiError(Exception):
    """The API server refuses; `code` is HTTP's, the message its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code

    @property
    def is_passing(self) -> bool:
        """Whether the server is only busy."""
        return self.code >= SERVER_ERRORS or self.code == TOO_MANY


class Api:
    """Requests of one user."""

    def __init__(self, server: str, token: str, authorities: Path) -> None:
        self._server = server
        self._token = token
        self._context = ssl.create_default_context(cafile=str(authorities))

    def get(self, path: str) -> Object:
        """Return an object or a list."""
        return self._request("GET", path)

    def create(self, path: str, item: Object) -> Object:
        """Create an object in this collection."""
        return self._request("POST", path, item)

    def patch(self, path: str, change: Object) -> Object:
        """Change an object, or its status."""
        return self._request("PATCH", path, change, STRATEGIC)

    def delete(self, path: str, options: Object) -> Object:
        """Delete an object."""
        return self._request("DELETE", path, options)

    def is_ready(self) -> bool:
        """Tell whether the server serves, and its bootstrap hooks are through."""
        try:
            with self._open("GET", "/readyz"):
                return True
        except (ApiError, OSError):
            return False

    def _request(
        self, method: str, path: str, body: Object | None = None, kind: str = PLAIN
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        tries_left = TRIES
        while True:
            tries_left -= 1
            try:
                with self._open(method, path, data, kind) as answer:
                    found = json.load(answer)
            except (ApiError, OSError) as error:  # a busy machine: as a kubelet, ask again
                is_final = isinstance(error, ApiError) and not error.is_passing
                if is_final or not tries_left:
                    raise
                time.sleep(PAUSE_SECONDS)
            else:
                assert isinstance(found, dict)
                return found

    def _open(self, method: str, path: str, data: bytes | None = None, kind: str = PLAIN) -> Any:  # noqa: ANN401 - urllib's own
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self._server}{path}",
            data,
            {"Authorization": f"Bearer {self._token}", "Content-Type": kind},
            method=method,
        )
        try:
            return urllib.request.urlopen(  # noqa: S310 - our own server
                request, timeout=TIMEOUT_SECONDS, context=self._context
            )
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError, KeyError, TypeError):
                said = json.loads(said)["message"]
            raise ApiError(error.code, said) from None
