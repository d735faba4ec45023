"""Servers that answer nothing: one accepts no connection, one accepts all of them."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 0.5
MAX_CONNECTIONS = 16


@contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """Listen with a full queue. Connections neither succeed nor fail, as behind a firewall."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(MAX_CONNECTIONS):
            connecting = stack.enter_context(socket.socket())
            connecting.setblocking(False)  # noqa: FBT003 - the only argument
            connecting.connect_ex((host, port))
            if not select.select([], [connecting], [], CONNECT_SECONDS)[1]:
                break
        else:
            raise AssertionError("the queue of the server does not become full")
        yield


@contextmanager
def silent_server(host: str, port: int) -> Iterator[None]:
    """Listen and accept each connection, and answer nothing."""
    with socket.create_server((host, port)):
        yield
