"""Posts one form to a token endpoint, and reads its answer (RFC 6749 sections 4.4 and 5).

The standard library sends it, in a thread: one request in some minutes needs no package of its own.
It uses the proxy that the variable HTTPS_PROXY names. Redirects are not followed, because another
host would receive the secret.
"""

import http.client
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from consumer import __version__
from consumer.kafka.tokens.token import Token, TokenRefused, TokenUnavailable, masked

REQUEST_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 256 * 1024
_MAX_LIFETIME_SECONDS: Final = 365 * 86_400
_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Return no request, so that the redirect becomes an error."""


class TokenEndpoint:
    """The token endpoint of an identity provider."""

    def __init__(self, url: str, authorities: str) -> None:
        """Set the address, and the file of its certificate authorities (empty: of the system)."""
        self._url = url
        self._authorities = authorities
        self._setting = "CHECKPOINT_READY_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"

    def post(self, form: dict[str, str], authorization: str, secrets: tuple[str, ...]) -> Token:
        """Return the token that the endpoint gives. It blocks for at most some seconds.

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
        return urllib.request.build_opener(
            _NoRedirects(), urllib.request.HTTPSHandler(context=context)
        )

    def _refusal(
        self, error: urllib.error.HTTPError, secrets: tuple[str, ...]
    ) -> TokenRefused | TokenUnavailable:
        status = error.code
        try:
            reason = _reason(error.read(MAX_ANSWER_BYTES), secrets)
        except (OSError, http.client.HTTPException):
            reason = ""
        text = f"the token endpoint {self._url} answered {status}{reason}"
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
                f"the certificate of the token endpoint {self._url} is not trusted "
                f"({cause.verify_message}); name its authority in "
                "CHECKPOINT_READY_SASL_OAUTHBEARER_SSL_CAFILE"
            )
        reason = masked(str(cause) or type(cause).__name__, *secrets)
        return TokenUnavailable(f"the token endpoint {self._url} cannot be reached: {reason}")

    def _token(self, body: bytes) -> Token:
        answer = _document(body)
        text = answer.get("access_token")
        if not isinstance(text, str) or len(body) > MAX_ANSWER_BYTES:
            raise TokenRefused(
                f"the answer of {self._url} has no access_token: correct {self._setting}"
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
