"""Resolves host names and connects to the first address that answers.

asyncio resolves names in the threads of its executor, and a process waits for these threads before
it ends. If the name server does not answer, that takes longer than a pod has. asyncio also tries
the addresses of a name one after the other, so an address that drops packets uses up all the time.
"""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")
# An address of a socket, as `socket.getaddrinfo` returns it.
SocketAddress = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

# The recommended delay before the next address is tried beside those before it (RFC 8305, 5).
NEXT_ADDRESS_SECONDS: Final = 0.25

# The errors of a process, or of a machine, that can open no more files.
NO_OPEN_FILES: Final = (errno.EMFILE, errno.ENFILE)

# One thread for each name that is being resolved: while the name server does not answer, the
# number of threads does not grow with the number of tries.
_lookups: Final[dict[tuple[str, int], "asyncio.Future[list[SocketAddress]]"]] = {}


async def resolve(host: str, port: int) -> list[SocketAddress]:
    """Return the addresses of a host name, in the order of the resolver.

    Raises:
        OSError: the name cannot be resolved (socket.gaierror), or no more files can be opened.
    """
    loop = asyncio.get_running_loop()
    lookup = _lookups.get((host, port))
    if lookup is None or lookup.get_loop() is not loop:
        lookup = _lookups[host, port] = loop.create_future()
        lookup.add_done_callback(lambda done: _forget(host, port, done))
        # A daemon thread: the process may end before the name server has answered.
        thread = threading.Thread(
            target=_look_up, args=(host, port, lookup), name=f"resolve-{host}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            lookup.set_exception(OSError(f"{host} cannot be resolved: {error}"))
    return await asyncio.shield(lookup)


def _look_up(host: str, port: int, lookup: "asyncio.Future[list[SocketAddress]]") -> None:
    found: list[SocketAddress] = []
    error: OSError | None = None
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if (family, address) not in found:
                found.append((family, address))  # type: ignore[arg-type]  # IPv4 or IPv6
    except (OSError, UnicodeError) as caught:  # UnicodeError: the name is no host name (IDNA)
        error = caught if isinstance(caught, OSError) else socket.gaierror(str(caught))
        error = _lack_of_files() or error

    def finish() -> None:
        if lookup.done():
            return
        if error is not None:
            lookup.set_exception(error)
        else:
            lookup.set_result(found)

    with contextlib.suppress(RuntimeError):  # the event loop is closed
        lookup.get_loop().call_soon_threadsafe(finish)


def _lack_of_files() -> OSError | None:
    """Return the error of this process if it can open no more files.

    A resolver that can open no file may report a temporary failure, or that the name is unknown.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error if error.errno in NO_OPEN_FILES else None
    return None


def _forget(host: str, port: int, lookup: "asyncio.Future[list[SocketAddress]]") -> None:
    if not lookup.cancelled():
        lookup.exception()  # mark it as read: asyncio logs exceptions that nothing has read
    if _lookups.get((host, port)) is lookup:
        del _lookups[host, port]


async def open_socket(
    host: str,
    port: int,
    order: Callable[[list[SocketAddress]], list[SocketAddress]] = lambda found: found,
) -> socket.socket:
    """Return a connected socket to the first address of a host name that accepts.

    `order` gets the addresses as the resolver returned them, and returns which to try first.

    Raises:
        OSError: the name cannot be resolved, or no address accepts. It is the error of the first
            address.
    """
    addresses = order(await resolve(host, port))
    attempts = [partial(_connect, address) for address in addresses]
    return await first_success(attempts, NEXT_ADDRESS_SECONDS, socket.socket.close)


async def _connect(address: SocketAddress) -> socket.socket:
    family, name = address
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)  # noqa: FBT003 - the only argument
        await asyncio.get_running_loop().sock_connect(connecting, name)
    except BaseException:
        connecting.close()
        raise
    return connecting


async def first_success(
    attempts: Iterable[Callable[[], Awaitable[T]]],
    delay_seconds: float,
    discard: Callable[[T], None] = lambda _: None,
) -> T:
    """Start the attempts one after the other, and return the first result.

    The next attempt starts when the one before has failed or after `delay_seconds`. The attempts
    before it continue. Attempts that are not needed are cancelled; their results are discarded.

    Raises:
        OSError, KafkaError: every attempt failed. It is the error of the first attempt.
    """
    waiting = list(attempts)
    running: list[asyncio.Future[T]] = []
    started: list[asyncio.Future[T]] = []
    try:
        while waiting or running:
            if waiting:
                started.append(asyncio.ensure_future(waiting.pop(0)()))
                running.append(started[-1])
            done, _ = await asyncio.wait(
                running,
                timeout=delay_seconds if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in [each for each in running if each in done]:
                running.remove(attempt)
                if not attempt.cancelled() and attempt.exception() is None:
                    return attempt.result()
        raise _error_of(started)
    finally:
        for attempt in running:
            attempt.cancel()
            attempt.add_done_callback(lambda ended: _drop(ended, discard))


def _error_of(attempts: list["asyncio.Future[T]"]) -> BaseException:
    for attempt in attempts:
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            return error
    return OSError("no address to connect to")


def _drop(ended: "asyncio.Future[T]", discard: Callable[[T], None]) -> None:
    if not ended.cancelled() and ended.exception() is None:
        discard(ended.result())
