"""Connecting to the first address that answers, and what is remembered about brokers."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from consumer.kafka.client import addresses, broker_health
from consumer.kafka.client.addresses import first_success, open_socket, resolve
from consumer.kafka.client.broker_health import ANSWER_SECONDS, CONNECT_SECONDS, BrokerHealth
from tests.support.silent_servers import black_hole
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HOST = "127.0.0.1"
GOOD, BAD = ("good", 9092), ("bad", 9092)


async def never() -> str:
    """Hang."""
    await asyncio.Event().wait()
    return "never"


def fail(message: str) -> Callable[[], Coroutine[None, None, str]]:
    """Return an attempt that fails at once."""

    async def attempt() -> str:
        raise OSError(message)

    return attempt


async def succeed() -> str:
    """Answer at once."""
    return "answer"


@pytest.mark.parametrize("before", [[], [never], [never, never], [fail("x")], [never, fail("x")]])
async def test_the_first_answer_counts(
    before: list[Callable[[], Coroutine[None, None, str]]],
) -> None:
    """Attempts that hang or fail only cost the delay."""
    assert await first_success([*before, succeed], 0.01) == "answer"


async def test_a_failure_starts_the_next_attempt_at_once() -> None:
    """Nobody waits for the delay after a failure."""
    assert await asyncio.wait_for(first_success([fail("x"), succeed], 3600), 10) == "answer"


async def test_the_first_error_is_told_when_all_fail() -> None:
    """The first server is the one that the operator named first."""
    with pytest.raises(OSError, match="first"):
        await first_success([fail("first"), fail("second")], 3600)
    with pytest.raises(OSError, match="no address"):
        await first_success([], 3600)


async def test_other_attempts_are_cancelled_and_their_results_discarded() -> None:
    """A socket that connects too late is closed."""
    cancelled = asyncio.Event()
    discarded: list[str] = []
    release = asyncio.Event()

    async def late() -> str:
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.set()
        return "late"

    assert await first_success([late, succeed], 0.01, discarded.append) == "answer"
    await asyncio.wait_for(cancelled.wait(), 10)
    await wait_until_async(lambda: bool(discarded))
    assert discarded == ["late"]


async def test_the_addresses_of_a_name_are_tried_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first address is a listener whose queue is full: it neither accepts nor refuses."""
    with socket.create_server((HOST, 0)) as good:
        port = good.getsockname()[1]
        with black_hole("127.0.0.2", port):
            found = [(socket.AF_INET, 0, 0, "", (host, port)) for host in ("127.0.0.2", HOST)]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            connected = await asyncio.wait_for(open_socket("kafka.test", port), 30)
            assert connected.getpeername() == (HOST, port)
            connected.close()


async def test_one_thread_resolves_a_name_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that hangs does not cost a thread for each try."""
    release = threading.Event()
    calls: list[str] = []

    def hang(host: str, *_: object, **__: object) -> list[object]:
        calls.append(host)
        release.wait(30)
        return [(socket.AF_INET, 0, 0, "", (HOST, 1))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    tries = [asyncio.create_task(resolve("kafka.test", 9092)) for _ in range(5)]
    abandoned = asyncio.create_task(resolve("kafka.test", 9092))
    await asyncio.sleep(0)
    abandoned.cancel()
    release.set()
    assert await asyncio.gather(*tries) == [[(socket.AF_INET, (HOST, 1))]] * 5
    assert calls == ["kafka.test"]
    assert not addresses._lookups  # noqa: SLF001 - the next question asks again


async def test_a_name_that_cannot_be_resolved_is_an_error() -> None:
    """Names that break the rules for host names too."""
    with pytest.raises(OSError, match=r".+"):
        await resolve("no-such-host.invalid", 9092)
    with pytest.raises(OSError, match=r".+"):
        await resolve("a" * 300, 9092)


async def test_a_resolver_without_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolvers report it as a temporary failure or as an unknown name; the process knows it."""

    def look_up(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def cannot_open(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(socket.gaierror):
        await resolve("kafka.test", 9092)
    monkeypatch.setattr(os, "open", cannot_open)
    with pytest.raises(OSError, match="Too many open files"):
        await resolve("kafka.test", 9092)


async def test_a_real_resolver_without_open_files() -> None:
    """The error names the open files on this platform too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            await resolve("localhost", 9092)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_address_that_failed_comes_last() -> None:
    """Until it answers again."""
    health = BrokerHealth()
    both = [(1, BAD), (2, GOOD)]
    health.failed(BAD)
    assert all(health.preferred(both) == [2, 1] for _ in range(20))
    health.connected(BAD)  # a broker whose request handlers hang accepts connections
    assert all(health.preferred(both) == [2, 1] for _ in range(20))
    assert health.is_answering(BAD)  # new connections that it closes at once are another fault
    health.answered(BAD)
    assert {tuple(health.preferred(both)) for _ in range(100)} == {(1, 2), (2, 1)}


def test_a_failure_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that was slow once is used again."""
    health = BrokerHealth()
    health.failed(BAD)
    monkeypatch.setattr(broker_health, "AVOIDED_SECONDS", 0.0)
    assert not health.is_avoided(BAD)


def test_the_time_for_an_address_grows_while_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow broker is reached in the end; a dead one does not cost more and more."""
    monkeypatch.setattr(broker_health, "SAME_FAILURE_SECONDS", 0.0)
    health = BrokerHealth()
    seen = []
    for _ in range(6):
        seen.append((health.connect_seconds(BAD), health.answer_seconds(BAD)))
        health.failed(BAD)
    assert seen == [(CONNECT_SECONDS * n, ANSWER_SECONDS * n) for n in (1, 1, 2, 4, 4, 4)]
    assert health.connect_seconds(GOOD) == CONNECT_SECONDS


def test_many_clients_find_the_same_failure() -> None:
    """A process with many shards does not wait longer than one with a single shard."""
    health = BrokerHealth()
    for _ in range(50):
        health.failed(BAD)
    assert health.connect_seconds(BAD) == CONNECT_SECONDS
