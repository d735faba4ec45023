"""Runs an event loop in a thread; the base of the proxies of the tests."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine
    from concurrent.futures import Future

    Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

Value = TypeVar("Value")

CALL_SECONDS = 30.0


class LoopThread:
    """An event loop with TCP servers. Its end leaves no task and no connection behind."""

    def __init__(self, name: str) -> None:
        """Only make the loop; `start` runs it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._servers: list[asyncio.Server] = []

    def start(self) -> None:
        """Run the loop."""
        self._thread.start()

    def call(self, coroutine: Coroutine[None, None, Value]) -> Value:
        """Run a coroutine in the loop and return its result."""
        return self.begin(coroutine).result(CALL_SECONDS)

    def begin(self, coroutine: Coroutine[None, None, Value]) -> Future[Value]:
        """Begin a coroutine in the loop, and do not wait for its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def listen(self, listening: socket.socket, accept: Accept) -> None:
        """Serve the connections of a listening socket. `accept` must end if it is cancelled."""
        self.call(self._listen(listening, accept))

    def close(self) -> None:
        """Close the servers, end every task, and stop the thread."""
        if self._thread.is_alive():
            self.call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_SECONDS)
        self._loop.close()

    async def _listen(self, listening: socket.socket, accept: Accept) -> None:
        self._servers.append(await asyncio.start_server(accept, sock=listening))

    async def _end(self) -> None:
        # Accept nothing more, but close the servers last: a closed server of CPython 3.11 loses the
        # connections that it accepted a moment ago, and leaves them open.
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:
                loop.remove_reader(listening)
        # Such a connection has a task that has not begun, or gets one in a later step of the loop.
        # A task that is cancelled before it begins closes nothing.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)  # each of these tasks begins
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CALL_SECONDS / 2)
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
