"""aiokafka's connection to a broker, which opens its socket differently and renews its login.

Like ``private_api``, this module uses private parts of aiokafka, pinned to 0.14.0. The library's
own connection tries the addresses of a name one after the other, has no TCP keep-alive, and ignores
the end of a login session. ``private_client`` has the class of the clients.
"""

import asyncio
import errno
import logging
import math
import os
import random
import socket
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka.conn import READER_LIMIT, AIOKafkaConnection, AIOKafkaProtocol, CloseReason
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from consumer.kafka.client.addresses import SocketAddress, open_socket
from consumer.kafka.client.broker_health import Address
from consumer.kafka.client.token_provider import TokenDialog, TokenLoginRefused, TokenProvider

# Like the lines of the library, each kind is written every 10 seconds at most.
log = logging.getLogger(__name__)

# A peer that is gone without a word is found after idle + 3 x 10 s. Linux also waits for the
# interval after a probe that was answered. So the interval is never longer than the idle time.
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3
# The part of a session after which the login is renewed; drawn, so that not all renew together.
LOGIN_AT: Final = (0.7, 0.85)
# A broker refuses to renew a login within a second (KafkaChannel, MIN_REAUTH_INTERVAL_ONE_SECOND).
LEAST_LOGIN_SECONDS: Final = 1.1
TOKEN_RETRY_SECONDS: Final = 10.0
# Brokers may disagree for a time about the address of one of them. A connection that works is given
# up only if nothing has named its address for this time, and this many answers named another one.
MOVED_SECONDS: Final = 30.0
MOVED_ANSWERS: Final = 3


class ClosedAtOnce(KafkaConnectionError):
    """The broker accepted a connection and closed it before its first answer."""

    def __str__(self) -> str:
        """Return the message, without the name of the class that the library puts before it."""
        return "the broker closed the connection before its first answer"


class BrokerConnection(AIOKafkaConnection):
    """A connection whose socket is opened by ``open_socket``, and which logs in again in time.

    A broker ends the session of a login after ``connections.max.reauth.ms``, or when the token of
    the login expires. Then it closes the connection at its next request, unless the client has
    logged in again on the open connection (KIP-368). The library does not.
    """

    keepalive_seconds = 0
    password: Callable[[], str] | None = None
    """Returns the present password; None: the password does not change."""
    is_avoided: Callable[[Address], bool] = staticmethod(lambda _: False)
    addresses: tuple[Address, ...] = ()
    """All addresses of the host name."""
    peer: Address | None = None
    """The address that has accepted."""
    _renewal: asyncio.Task[None] | None = None
    _login_timer: asyncio.TimerHandle | None = None
    _login: asyncio.Future[None] | None = None
    """Set from the first request of a renewed login to its end; then no other request is sent."""
    _held_requests = 0
    _named_at = 0.0  # monotonic seconds; when the cluster named this address last
    _other_answers = 0  # answers that named another address since then
    _session_ends_at = math.inf  # monotonic seconds
    _waiting_since = 0.0  # monotonic seconds; of the oldest request, if there is one

    async def connect(self) -> None:
        """Connect, query the versions and log in. The caller limits the time.

        Raises:
            OSError, KafkaError: the broker cannot be reached, or refuses the login.
            ClosedAtOnce: the broker has closed the connection.
        """
        loop = self._loop
        self._named_at = time.monotonic()
        self._closed_fut = loop.create_future()
        reader = asyncio.StreamReader(limit=READER_LIMIT, loop=loop)
        protocol = AIOKafkaProtocol(self._closed_fut, reader, loop=loop)
        tls = self._ssl_context if self._security_protocol.endswith("SSL") else None
        connected = await open_socket(self.host, self.port, self._order)
        try:
            self.peer = _peer(connected)
            keep_alive(connected, self.keepalive_seconds)
            transport, _ = await loop.create_connection(
                lambda: protocol,
                sock=connected,
                ssl=tls,
                server_hostname=self.host if tls is not None else None,
            )
        except (ConnectionError, ssl.SSLEOFError) as error:
            connected.close()
            raise ClosedAtOnce from error
        except BaseException:
            connected.close()
            raise
        self._reader, self._protocol = reader, protocol
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._read_task = self._create_reader_task()
        if self._max_idle_ms is not None:
            self._idle_handle = loop.call_soon(self._idle_check, weakref.ref(self))
        try:
            await self._look_up_versions()
            if self._security_protocol.startswith("SASL"):
                await self._do_sasl_handshake()
        except BaseException:
            self.close()
            raise

    def _order(self, found: list[SocketAddress]) -> list[SocketAddress]:
        """Return the addresses in the order of the resolver, but those that failed come last."""
        self.addresses = tuple(name[:2] for _, name in found)
        return sorted(found, key=lambda each: self.is_avoided(each[1][:2]))

    async def _look_up_versions(self) -> None:
        try:
            await self._do_version_lookup()
        except (KafkaConnectionError, ConnectionError) as error:
            raise ClosedAtOnce from error

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: ANN401, FBT001, FBT002 - the library's signature
        """Send a request; while the connection logs in again, send it after that.

        Raises:
            KafkaConnectionError: the connection is closed.
        """
        if isinstance(request, SaslAuthenticateRequest):
            return self._authenticate(request)
        is_free = self._login is None and not self._held_requests
        if is_free or isinstance(request, SaslHandShakeRequest):
            return self._send_now(request, expect_response=expect_response)
        return self._send_after_login(request, expect_response=expect_response)

    @property
    def silent_seconds(self) -> float:
        """How long the broker has sent nothing, although a request waits for its answer."""
        if not self._requests:
            return 0.0
        last: float = max(self._last_action, self._waiting_since)
        return time.monotonic() - last

    def note_address(self, named: Address) -> None:
        """Note which address the cluster names for this broker."""
        if named == (self.host, self.port):
            self._named_at, self._other_answers = time.monotonic(), 0
        else:
            self._other_answers += 1

    @property
    def has_moved(self) -> bool:
        """Whether the broker has another address for good."""
        seconds = time.monotonic() - self._named_at
        return self._other_answers >= MOVED_ANSWERS and seconds >= MOVED_SECONDS

    def _send_now(self, request: Any, *, expect_response: bool = True) -> Awaitable[Any]:  # noqa: ANN401 - the library is untyped
        if not self._requests:
            self._waiting_since = time.monotonic()
        sent: Awaitable[Any] = super().send(request, expect_response)
        return sent

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:  # noqa: ANN401 - the library is untyped
        """Close, and log in no more."""
        if self._login_timer is not None:
            self._login_timer.cancel()
        # A renewal that closes the connection itself is at its end.
        if self._renewal is not None and self._login is None:
            self._renewal.cancel()
        return super().close(reason=reason, exc=exc)

    def authenticator_oauth(self) -> TokenDialog:
        """Return the dialog of OAUTHBEARER."""
        return TokenDialog(self._sasl_oauth_token_provider)

    async def _do_sasl_handshake(self) -> None:
        """Log in.

        Raises:
            TokenLoginRefused: the broker refuses the token.
            OSError, KafkaError: the login fails.
        """
        provider = self._sasl_oauth_token_provider
        try:
            await super()._do_sasl_handshake()
        except SaslAuthenticationFailed as error:
            if not isinstance(provider, TokenProvider) or isinstance(error, TokenLoginRefused):
                raise
            raise provider.refusal(str(error.args[0] if error.args else "")) from error

    async def _send_after_login(self, request: Any, *, expect_response: bool) -> Any:  # noqa: ANN401 - the same
        self._held_requests += 1  # requests that come now stay behind this one
        try:
            if self._login is None:
                await asyncio.sleep(0)
            else:
                await asyncio.shield(self._login)
        finally:
            self._held_requests -= 1
        return await self._send_now(request, expect_response=expect_response)

    async def _authenticate(self, request: SaslAuthenticateRequest) -> Any:  # noqa: ANN401 - the same
        response = await self._send_now(request)
        lifetime_ms = getattr(response, "session_lifetime_ms", 0)
        if response.error_code == 0 and lifetime_ms > 0:
            self._session_ends_at = time.monotonic() + lifetime_ms / 1000
            share = random.uniform(*LOGIN_AT)  # noqa: S311 - spreads logins
            self._log_in_after(max(LEAST_LOGIN_SECONDS, lifetime_ms / 1000 * share))
        return response

    def _log_in_after(self, seconds: float) -> None:
        # The timer must not keep an unused connection alive.
        method = weakref.WeakMethod(self._begin_login)
        self._login_timer = self._loop.call_later(seconds, _call_if_alive, method)

    def _begin_login(self) -> None:
        if self.connected():
            self._renewal = asyncio.create_task(self._log_in_again())

    async def _log_in_again(self) -> None:
        """Log in on the open connection. The requests before it are answered first."""
        try:
            if self._sasl_oauth_token_provider is not None:
                # First, so that a token endpoint that is away does not end the connection.
                await self._sasl_oauth_token_provider.token()
        except Exception as error:  # noqa: BLE001 - any provider
            left = self._session_ends_at - time.monotonic()
            log.warning("no token to log in again at a broker: %s", text_of(error))
            if left > 0:
                self._log_in_after(min(left / 4, TOKEN_RETRY_SECONDS))
            return
        if self.password is not None:
            self._sasl_plain_password = self.password()
        self._login = self._loop.create_future()
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._do_sasl_handshake()
        except Exception as error:  # noqa: BLE001 - SCRAM raises ValueError and others too
            # A refused login has closed the connection already. A request that is repeated on a new
            # connection tells whether the credentials are refused there too.
            if self.connected():
                log.warning("a login could not be renewed: %s", text_of(error))
            self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        finally:
            self._login.set_result(None)
            self._login = None


def _call_if_alive(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    found = method()
    if found is not None:
        found()


def _peer(connected: socket.socket) -> Address:
    """Return the address of the other side.

    Raises:
        ConnectionResetError: the other side has reset the connection already.
    """
    try:
        host, port = connected.getpeername()[:2]
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error
    return host, port


def keep_alive(connected: socket.socket, idle_seconds: int) -> None:
    """Let the kernel test an idle connection after `idle_seconds`; 0 switches this off.

    A NAT gateway or a load balancer may drop an idle connection without informing either side.
    """
    if not idle_seconds:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS has other names, and Windows none; the default of the system applies there.
    for name, value in (
        ("TCP_KEEPIDLE", idle_seconds),
        ("TCP_KEEPINTVL", min(KEEPALIVE_INTERVAL_SECONDS, idle_seconds)),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def text_of(error: BaseException) -> str:
    """Return the text of an error, or its class if it has none."""
    return str(error) or type(error).__name__
