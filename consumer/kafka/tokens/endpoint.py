"""Posts one form to a token endpoint, and reads its answer (RFC 6749 sections 4.4 and 5).

The standard library sends it, in a thread: one request in some minutes needs no package of its own.
It uses the proxy that the variable HTTPS_PROXY names. Redirects are not followed, because another
host would receive the secret.
"""

import contextlib
import http.client
import io
import socket
import ssl
import time
import urllib.error
import urllib.request
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from consumer import __version__
from consumer.kafka.tokens.masking import masked
from consumer.kafka.tokens.token import Token, TokenRefused, TokenUnavailable

REQUEST_SECONDS: Final = 10.0  # for each step: connect, TLS, send
TOTAL_SECONDS: Final = 15.0  # until the end of the answer
MAX_ANSWER_BYTES: Final = 256 * 1024
_MAX_LIFETIME_SECONDS: Final = 365 * 86_400
_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Return no request, so that the redirect becomes an error."""


class _Received(io.RawIOBase):
    """The bytes that a server sends until a deadline.

    A socket limits the time for each byte. A server that sends a byte now and then would never end.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connected = connected
        self._raw = connected.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a buffer
        left = self._deadline - time.monotonic()
        with contextlib.suppress(TimeoutError):
            if left > 0:
                self._connected.settimeout(left)
                return self._raw.readinto(buffer)
        raise TimeoutError(f"no complete answer within {TOTAL_SECONDS:g} s")

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that must be complete at a deadline, with its headers and those of a proxy."""

    def __init__(self, deadline: float, connected: socket.socket, method: str | None) -> None:
        super().__init__(connected, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Received(connected, deadline))


class _LimitedHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections whose responses must be complete at a deadline."""

    def __init__(self, context: ssl.SSLContext, deadline: float) -> None:
        super().__init__(context=context)
        self._secure = partial(self._connection, http.client.HTTPSConnection, context=context)
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request without TLS."""
        return self.do_open(partial(self._connection, http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request with TLS."""
        return self.do_open(self._secure, req)

    def _connection(self, kind: Any, host: str, **options: Any) -> http.client.HTTPConnection:  # noqa: ANN401 - of the library
        made: http.client.HTTPConnection = kind(host, **options)
        made.response_class = partial(_Response, self._deadline)  # type: ignore[assignment]  # it is called like one
        return made


class TokenEndpoint:
    """The token endpoint of an identity provider."""

    def __init__(self, url: str, authorities: str) -> None:
        """Set the address, and the file of its certificate authorities (empty: of the system)."""
        self._url = url
        self._shown = url.partition("?")[0]  # a query may have a key
        self._authorities = authorities
        self._setting = "CHECKPOINT_READY_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"

    def post(self, form: dict[str, str], authorization: str, secrets: tuple[str, ...]) -> Token:
        """Return the token that the endpoint gives. It blocks for at most `TOTAL_SECONDS`.

        It blocks for longer only while the name of the endpoint is resolved, and if several of its
        addresses do not answer.

        Args:
            form: the parameters of the request.
            authorization: the value of this header; empty: no such header.
            secrets: texts that no error message may have.

        Raises:
            TokenRefused: the endpoint refuses the request, or is no token endpoint.
            TokenUnavailable: the endpoint does not answer, or asks to come again later.
        """
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": f"checkpoint-ready/{__version__}",
        }
        if authorization:
            headers["Authorization"] = authorization
        request = urllib.request.Request(  # noqa: S310 - the settings allow http and https only
            self._url, urlencode(form).encode(), headers, method="POST"
        )
        try:
            with self._opener().open(request, timeout=REQUEST_SECONDS) as response:
                body = response.read(MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, secrets) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failure(error, secrets) from None
        return self._token(body)

    def _opener(self) -> urllib.request.OpenerDirector:
        # Read each time, because the file can be renewed.
        context = ssl.create_default_context(cafile=self._authorities or None)
        deadline = time.monotonic() + TOTAL_SECONDS
        return urllib.request.build_opener(_NoRedirects(), _LimitedHandler(context, deadline))

    def _refusal(
        self, error: urllib.error.HTTPError, secrets: tuple[str, ...]
    ) -> TokenRefused | TokenUnavailable:
        status = error.code
        try:
            reason = _reason(error.read(MAX_ANSWER_BYTES), secrets)
        except (OSError, http.client.HTTPException):
            reason = ""
        text = f"the token endpoint {self._shown} answered {status}{reason}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER:
            return TokenUnavailable(text)
        if status < HTTPStatus.BAD_REQUEST:
            return TokenRefused(f"{text}: redirects are not followed; correct {self._setting}")
        return TokenRefused(
            f"{text}; check the client, its secret or assertion, scope and audience in "
            "CHECKPOINT_READY_SASL_OAUTHBEARER_*"
        )

    def _failure(
        self, error: Exception, secrets: tuple[str, ...]
    ) -> TokenRefused | TokenUnavailable:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TokenRefused(
                f"the certificate of the token endpoint {self._shown} is not trusted "
                f"({cause.verify_message}); name its authority in "
                "CHECKPOINT_READY_SASL_OAUTHBEARER_SSL_CAFILE"
            )
        reason = masked(str(cause) or type(cause).__name__, *secrets)
        return TokenUnavailable(f"the token endpoint {self._shown} cannot be reached: {reason}")

    def _token(self, body: bytes) -> Token:
        if len(body) > MAX_ANSWER_BYTES:
            raise TokenRefused(
                f"the answer of {self._shown} has more than {MAX_ANSWER_BYTES} bytes: "
                f"correct {self._setting}"
            )
        answer = _document(body)
        text = answer.get("access_token")
        if not isinstance(text, str):
            raise TokenRefused(
                f"the answer of {self._shown} has no access_token: correct {self._setting}"
            )
        try:
            lifetime = float(answer["expires_in"])
        except (KeyError, TypeError, ValueError):
            return Token.of(text)
        return Token.of(text, min(lifetime, _MAX_LIFETIME_SECONDS))


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(body: bytes, secrets: tuple[str, ...]) -> str:
    """Return the error code and the description of RFC 6749 section 5.2, if the answer has them."""
    answer = _document(body)
    found = [answer.get(name) for name in ("error", "error_description")]
    text = ": ".join(masked(one, *secrets) for one in found if isinstance(one, str) and one)
    return f" ({text})" if text else ""
