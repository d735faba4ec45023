"""A TCP proxy between services and brokers, one listening port for each link, in a thread.

Requests are forwarded frame by frame, so that they can be held back by their kind; the order on a
connection is kept, as Kafka demands. What a client has sent before it hung up still arrives, late:
that is how a network delivers an EndTxn whose sender no longer waits for the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from dev.kafka_settings import HOST
from tests.chaos.effects import SASL_HANDSHAKE, Effect, Link, api_key_of
from tests.support.loop_thread import CALL_SECONDS, LoopThread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LENGTH_BYTES = 4
CHUNK_BYTES = 64 * 1024
MAX_WAITING_FRAMES = 1000
CONNECT_SECONDS = 5.0
LINGER_SECONDS = 1.0
PACKET_POLL_SECONDS = 0.1
# The place of tcpi_segs_in in Linux's struct tcp_info: packets that came in, empty ones too.
TCP_INFO_BYTES = 144
PACKETS = struct.Struct("140xI")
BROKEN = (OSError, asyncio.IncompleteReadError)


class Stream(NamedTuple):
    """Both directions of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Passage:
    """One connection through the proxy."""

    def __init__(self, link: Link, now: float, client: socket.socket) -> None:
        self.link = link
        self.used_at = now
        self.is_forgotten = False
        self.has_logged_in = False
        self._client = client
        self._packets = 0

    def has_new_packets(self) -> bool:
        """Return whether the client has sent anything since the last call, as TCP keep-alive does.

        A gateway sees packets, not requests. Only the operating system knows of them.
        """
        if not hasattr(socket, "TCP_INFO"):  # not on Linux: requests only
            return False
        before = self._packets
        with contextlib.suppress(OSError):  # the client has hung up
            info = self._client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            (self._packets,) = PACKETS.unpack(info)
        return self._packets != before


class Held(NamedTuple):
    """A request on its way: not before `due`, by the monotonic clock."""

    due: float
    is_late: bool
    api_key: int
    frame: bytes


class Proxy:
    """Listens for services and passes on to brokers what the effects in force allow."""

    renewed_logins = 0
    """Further logins on connections that had logged in before (KIP-368)."""

    def __init__(self, links: Iterable[Link]) -> None:
        """Take a port for each link; nothing is served before `start`."""
        self._sockets = {link: socket.create_server((HOST, 0)) for link in links}
        self._brokers: dict[Link, int] = {}
        self._effects: list[Effect] = []
        self._address: int | None = None
        self._open: dict[asyncio.Task[None], Passage] = {}
        self._lock = threading.Lock()
        self._waiting: Counter[tuple[int, int]] = Counter()  # (place, api key)
        self.delayed: Counter[int] = Counter()  # api key: requests held back so far
        self.forgotten_by_link: Counter[Link] = Counter()  # connections
        self.requests: Counter[tuple[Link, int]] = Counter()  # by link and API key
        self._thread = LoopThread("proxy")

    def __enter__(self) -> Self:
        """Use as a context manager, which closes everything at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def start(self, brokers: Mapping[Link, int]) -> None:
        """Begin to serve: {link: the port of its broker}."""
        self._brokers = dict(brokers)
        self._thread.start()
        for link, listening in self._sockets.items():
            self._thread.listen(listening, partial(self._accept, link))

    def close(self) -> None:
        """End every connection and the thread."""
        self._thread.close()
        for listening in self._sockets.values():
            listening.close()

    def port(self, link: Link) -> int:
        """Return the port on which a service reaches a broker."""
        return int(self._sockets[link].getsockname()[1])

    def addresses(self, place: int) -> str:
        """Return the addresses of all brokers for one service."""
        links = (link for link in self._sockets if link.place == place)
        return ",".join(f"{HOST}:{self.port(link)}" for link in links)

    @property
    def forgotten(self) -> int:
        """How many connections were forgotten so far."""
        return self.forgotten_by_link.total()

    @contextmanager
    def trouble(self, effect: Effect) -> Iterator[None]:
        """Put an effect in force for a while; one that refuses also cuts what is connected."""
        with self._lock:
            self._effects.append(effect)
        watching = self._thread.begin(self._watch_idle(effect))
        try:
            if effect.is_refusing:
                self.cut(effect)
            yield
        finally:
            watching.cancel()
            with self._lock:
                self._effects.remove(effect)

    def cut(self, effect: Effect) -> int:
        """Cut the connections that an effect meets, with what is held back; return how many."""
        return self._thread.call(self._cut(effect))

    def serve_only(self, address: int) -> None:
        """Serve the links with this address; cut and refuse the connections to all others."""
        with self._lock:
            self._address = address
        self._thread.call(self._cut_others(address))

    def is_holding(self, place: int, api_key: int) -> bool:
        """Return whether a request with this API key from a service is delayed now."""
        with self._lock:
            return self._waiting[place, api_key] > 0

    async def _cut(self, effect: Effect) -> int:
        return await self._cancel(
            [task for task, passage in self._open.items() if effect.meets(passage.link)]
        )

    async def _cut_others(self, address: int) -> int:
        return await self._cancel(
            [task for task, passage in self._open.items() if passage.link.address != address]
        )

    async def _cancel(self, chosen: list[asyncio.Task[None]]) -> int:
        for task in chosen:
            task.cancel()
        if chosen:
            await asyncio.wait(chosen, timeout=CALL_SECONDS / 2)
        return len(chosen)

    async def _accept(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = writer.get_extra_info("socket")
        self._open[task] = passage = Passage(link, time.monotonic(), client)
        try:
            with self._lock:
                is_refused = self._address not in {None, link.address} or any(
                    e.is_refusing and e.meets(link) for e in self._effects
                )
            if not is_refused:
                await self._connect(passage, Stream(reader, writer))
        except (*BROKEN, TimeoutError, asyncio.CancelledError):
            pass  # cut, or a broker that is not there: either way the client sees it
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _connect(self, passage: Passage, client: Stream) -> None:
        link = passage.link
        async with asyncio.timeout(CONNECT_SECONDS):
            broker = Stream(*await asyncio.open_connection(HOST, self._brokers[link]))
        frames: asyncio.Queue[Held | None] = asyncio.Queue(MAX_WAITING_FRAMES)
        # The broker's end ends all; the client's end only means that no more is read of it.
        answers = asyncio.create_task(self._pass_on(passage, broker.reader, client.writer))
        taking = asyncio.create_task(self._take(passage, client.reader, frames))
        giving = asyncio.create_task(self._give(link, frames, broker.writer))
        try:
            await asyncio.wait({answers, giving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # First, for the wait below can be cancelled: a connection cut while it ends by itself.
            broker.writer.transport.abort()
            for task in (answers, taking, giving):
                task.cancel()
            try:
                await asyncio.gather(answers, taking, giving, return_exceptions=True)
            finally:
                self._forget(link, frames)

    async def _take(
        self, passage: Passage, reader: asyncio.StreamReader, frames: asyncio.Queue[Held | None]
    ) -> None:
        link = passage.link
        with contextlib.suppress(*BROKEN):
            while True:
                length = await reader.readexactly(LENGTH_BYTES)
                frame = await reader.readexactly(int.from_bytes(length))
                if self._forgets(passage):
                    continue
                api_key = api_key_of(frame)
                self.requests[link, api_key] += 1
                if api_key == SASL_HANDSHAKE:
                    self.renewed_logins += passage.has_logged_in
                    passage.has_logged_in = True
                with self._lock:
                    seconds = max((e.delays(link, api_key) for e in self._effects), default=0.0)
                due = time.monotonic() + seconds
                await frames.put(Held(due, bool(seconds), api_key, length + frame))
                if seconds:
                    with self._lock:
                        self._waiting[link.place, api_key] += 1
                        self.delayed[api_key] += 1
        await frames.put(None)

    async def _watch_idle(self, effect: Effect) -> None:
        """Forget idle connections while an effect is in force, whether they are used again or not.

        Packets without data (TCP keep-alive) keep a connection alive, as in a real gateway.
        """
        while effect.forgets_after_seconds is not None:
            for passage in list(self._open.values()):
                if self._is_forgotten(passage) or passage.has_new_packets():
                    passage.used_at = time.monotonic()
            await asyncio.sleep(PACKET_POLL_SECONDS)

    def _forgets(self, passage: Passage) -> bool:
        """Note that a connection is used, and return whether it was forgotten before."""
        is_forgotten = self._is_forgotten(passage)
        passage.used_at = time.monotonic()
        return is_forgotten

    def _is_forgotten(self, passage: Passage) -> bool:
        """Return whether a connection was forgotten, now or before."""
        idle_seconds = time.monotonic() - passage.used_at
        if not passage.is_forgotten:
            with self._lock:
                passage.is_forgotten = any(
                    effect.forgets_after_seconds is not None
                    and idle_seconds > effect.forgets_after_seconds
                    and effect.meets(passage.link)
                    for effect in self._effects
                )
            if passage.is_forgotten:
                self.forgotten_by_link[passage.link] += 1
        return passage.is_forgotten

    async def _give(
        self, link: Link, frames: asyncio.Queue[Held | None], writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(*BROKEN):
            while held := await frames.get():
                try:
                    if held.is_late:
                        await asyncio.sleep(held.due - time.monotonic())
                    writer.write(held.frame)
                finally:
                    self._count_off(link, held)
                await writer.drain()
            # A broker answers the requests that it got, even to a closed client; then it closes.
            writer.write_eof()
            await asyncio.sleep(LINGER_SECONDS)

    def _forget(self, link: Link, frames: asyncio.Queue[Held | None]) -> None:
        while not frames.empty():
            if held := frames.get_nowait():
                self._count_off(link, held)

    async def _pass_on(
        self, passage: Passage, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on answers until the broker ends; a client that has gone only gets none."""
        with contextlib.suppress(*BROKEN):
            while chunk := await reader.read(CHUNK_BYTES):
                if not self._forgets(passage) and not writer.transport.is_closing():
                    writer.write(chunk)
                    with contextlib.suppress(*BROKEN):
                        await writer.drain()

    def _count_off(self, link: Link, held: Held) -> None:
        if held.is_late:
            with self._lock:
                self._waiting[link.place, held.api_key] -= 1
