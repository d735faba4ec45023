"""A token endpoint that never finishes: the time, the size and the threads are bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from consumer.config import PREFIX, Settings
from consumer.kafka.tokens import TokenRefused, TokenUnavailable, endpoint, shared, source_of
from consumer.kafka.tokens.shared import SharedToken
from consumer.kafka.tokens.threads import SingleThread
from consumer.kafka.tokens.token import Token
from tests.certificates import Authority
from tests.support.token_server import CLIENT_ID, CLIENT_SECRET, Answer, TokenServer
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOTAL_SECONDS = 0.6
DRIP_SECONDS = 0.02
# Ample for a busy machine, and far below what a server that drips would take.
MOST_SECONDS = 8.0
THREAD = "token-endpoint"


class DrippingServer:
    """Sends a byte now and then, without an end; a context manager that stops it."""

    def __init__(self, begin: bytes, drip: bytes) -> None:
        """Send `begin` at once, and then the bytes of `drip` one by one, again and again."""
        self._begin, self._drip = begin, drip
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._listener.close()
        self._thread.join(MOST_SECONDS)

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/token"

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.sendall(self._begin)
                while not self._stop.wait(DRIP_SECONDS):
                    for byte in self._drip:
                        connection.sendall(bytes([byte]))
                        if self._stop.wait(DRIP_SECONDS):
                            return
        self.ended.set()


def source(url: str, **variables: str) -> Any:  # noqa: ANN401 - a source
    """Return the source of a client with a secret at this address."""
    every = {
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": url,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": CLIENT_ID,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": CLIENT_SECRET,
        **variables,
    }
    return source_of(Settings.load({PREFIX + name: value for name, value in every.items()}))


def running(name: str = THREAD) -> int:
    """Return the number of threads that wait for an endpoint."""
    return sum(thread.name == name for thread in threading.enumerate())


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    """Run an identity provider."""
    with TokenServer() as server:
        yield server


@pytest.mark.parametrize(
    ("begin", "drip", "words"),
    [
        (b"", b"HTTP/1.1 200 OK and so on", r"no complete answer within 0\.6 s"),
        (
            b"HTTP/1.1 200 OK\r\n",
            b"X: y\r\n",
            r"no complete answer within 0\.6 s|got more than 100",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n", b'{"access_token": "', r"no complete answer within 0\.6 s"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            r"no complete answer within 0\.6 s",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            r"no complete answer within 0\.6 s",
        ),
        (b"HTTP/1.1 503 Busy\r\n\r\n", b"x", "answered 503"),
    ],
)
async def test_an_answer_that_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, drip: bytes, words: str
) -> None:
    """In the first line, the headers or the content: the time is for the whole answer."""
    monkeypatch.setattr(endpoint, "TOTAL_SECONDS", TOTAL_SECONDS)
    with DrippingServer(begin, drip) as server:
        started = time.monotonic()
        with pytest.raises(TokenUnavailable, match=words):
            await source(server.url).value()
        assert time.monotonic() - started < MOST_SECONDS
        await wait_until_async(lambda: running() == 0)
        assert server.ended.wait(MOST_SECONDS)  # the connection is closed


async def test_an_answer_through_a_proxy_that_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer of the proxy counts too."""
    monkeypatch.setattr(endpoint, "TOTAL_SECONDS", TOTAL_SECONDS)
    with DrippingServer(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(TokenUnavailable, match=r"no complete answer within 0\.6 s"):
            await source("https://login.example/token").value()
        await wait_until_async(lambda: running() == 0)


async def test_an_endpoint_with_tls(tmp_path: Path) -> None:
    """Its certificate is checked by the authorities of the settings."""
    ours = Authority(tmp_path)
    made = ours.certify("endpoint")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    provider = TokenServer()
    server = provider._server  # noqa: SLF001 - to put TLS on its socket
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = provider.token_url.replace("http:", "https:")
    with provider:
        token = await source(url, SASL_OAUTHBEARER_SSL_CAFILE=str(ours.file)).value()
        assert [token] == provider.tokens
        with pytest.raises(TokenRefused, match=r"is not trusted.*SASL_OAUTHBEARER_SSL_CAFILE"):
            await source(url).value()


async def test_an_answer_that_is_too_large(provider: TokenServer) -> None:
    """It is not read to its end, and the line says so."""
    padding = "x" * (endpoint.MAX_ANSWER_BYTES + 1)
    large = f'{{"access_token":"a","padding":"{padding}"}}'.encode()
    provider.fault = lambda _: Answer(200, large)
    with pytest.raises(TokenRefused, match=r"has more than 262144 bytes"):
        await source(provider.token_url).value()


async def test_a_query_of_the_address_is_not_shown(provider: TokenServer) -> None:
    """It may have a key. The request has it."""
    provider.refuse(401)
    with pytest.raises(TokenRefused) as caught:
        await source(f"{provider.token_url}?key=hunter2").value()
    assert f"{provider.token_url} answered 401" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_name_server_that_hangs_keeps_one_thread(
    provider: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many attempts are given up. When it answers again, there is a token."""
    free = threading.Event()
    lookups = 0
    found = socket.getaddrinfo

    def hang(*what: Any, **named: Any) -> Any:  # noqa: ANN401 - handed through
        nonlocal lookups
        lookups += 1
        free.wait(60)
        return found(*what, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(shared, "FETCH_SECONDS", 0.1)
    tokens: SharedToken = source(provider.token_url)
    with pytest.raises(TokenUnavailable, match=r"no token within 0\.1 s"):
        await tokens.value()
    most = 0
    for _ in range(4):
        await wait_until_async(lambda: tokens._attempt is not None)  # noqa: SLF001 - a later attempt
        most = max(most, running())
        await wait_until_async(lambda: tokens._attempt is None)  # noqa: SLF001 - it was given up
    assert (most, lookups) == (1, 1)
    monkeypatch.setattr(shared, "FETCH_SECONDS", 20.0)
    free.set()
    await wait_until_async(lambda: tokens._token is not None)  # noqa: SLF001 - it is renewed
    assert await tokens.value() in provider.tokens
    await wait_until_async(lambda: running() == 0)


async def test_a_call_that_nobody_awaits_ends_before_the_next_begins() -> None:
    """Its error is dropped, and the next call gets its own result."""
    free, begun = threading.Event(), threading.Event()

    def fail() -> Token:
        begun.set()
        free.wait(60)
        raise ValueError("planted")

    thread = SingleThread("test-single")
    first = asyncio.create_task(thread.run(fail))
    await wait_until_async(begun.is_set)
    first.cancel()
    second = asyncio.create_task(thread.run(lambda: Token.of("second")))
    third = asyncio.create_task(thread.run(lambda: Token.of("third")))
    await asyncio.sleep(0)
    assert running("test-single") == 1
    free.set()
    assert [(await one).value.reveal() for one in (second, third)] == ["second", "third"]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_call_that_ends_by_another_error_does_not_end_the_process() -> None:
    """A library may call sys.exit."""
    with pytest.raises(RuntimeError, match="SystemExit"):
        await SingleThread("test-exit").run(lambda: sys.exit(3))
