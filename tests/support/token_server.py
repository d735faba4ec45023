"""A local identity provider: a token endpoint, and the keys (JWKS) that a broker verifies with."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.client_assertions import AssertionVerifier
from tests.support.server_thread import ServerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENT_ID = "service"
CLIENT_SECRET = "a secret/of the client+1"
AUDIENCE = "kafka-of-the-tests"
ISSUER = "https://issuer.example"
KEY_ID = "key-1"


class TokenRequest(NamedTuple):
    """A request that the token endpoint received."""

    form: dict[str, str]
    authorization: str


class Answer(NamedTuple):
    """A response of the token endpoint."""

    status: int
    body: bytes
    delay_seconds: float = 0.0


class TokenServer(ServerThread):
    """The server on a free port; a context manager that stops it."""

    def __init__(self, lifetime_seconds: float = 3600.0) -> None:
        """Create the key, and open the port; entering the context starts the server."""
        self.lifetime_seconds = lifetime_seconds
        self.audience = AUDIENCE
        self.requests: list[TokenRequest] = []
        self.tokens: list[str] = []
        """The tokens that were given away."""
        self.assertions: AssertionVerifier | None = None
        """Checks client assertions; without it each assertion is accepted."""
        # It is asked before a response is made, and may replace it.
        self.fault: Callable[[TokenRequest], Answer | None] = lambda _: None
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), self._handler()))

    @property
    def token_url(self) -> str:
        """The address of the token endpoint."""
        return f"{self.origin}/token"

    @property
    def jwks_url(self) -> str:
        """The address of the public key."""
        return f"{self.origin}/jwks"

    def sign(self, **claims: object) -> str:
        """Return a token with these claims besides the usual ones."""
        now = time.time()
        every = {
            "iss": ISSUER,
            "sub": CLIENT_ID,
            "aud": self.audience,
            "iat": int(now),
            "exp": int(now + self.lifetime_seconds),
            "scope": "kafka",
            "jti": uuid.uuid4().hex,
            **claims,
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        signed = f"{encoded(header)}.{encoded(every)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
        return f"{signed}.{base64url(signature)}"

    def refuse(self, status: int, error: str = "invalid_client") -> None:
        """Answer every further request with this status."""
        refusal = _refusal(status, error, "no longer known")
        self.fault = lambda _: refusal

    def accept(self) -> None:
        """Answer again."""
        self.fault = lambda _: None

    @contextlib.contextmanager
    def as_usual(self) -> Iterator[None]:
        """Begin without requests; at the end answer, sign and verify as at the start again."""
        before = self.audience, self.lifetime_seconds
        self.requests.clear()
        try:
            yield
        finally:
            self.accept()
            self.assertions = None
            self.audience, self.lifetime_seconds = before

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Answer every request with 503, as a load balancer without a server does."""
        self.fault = lambda _: Answer(503, b"")
        try:
            yield
        finally:
            self.accept()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Answer no request; at the end answer those too that came meanwhile."""
        is_over = threading.Event()

        def wait(_: TokenRequest) -> None:
            is_over.wait()

        self.fault = wait
        try:
            yield
        finally:
            is_over.set()
            self.accept()

    def answer(self, request: TokenRequest) -> Answer:
        """Return the answer for one request, and note the request."""
        self.requests.append(request)
        fault = self.fault(request)
        if fault is not None:
            return fault
        if self.assertions is not None:
            problem = self.assertions.problem(request.form)
            if problem is not None:
                return _refusal(401, "invalid_client", problem)
            return self._give()
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        has_assertion = "client_assertion" in request.form  # not verified here
        if request.authorization != f"Basic {pair}" and not has_assertion:
            return Answer(401, b'{"error":"invalid_client"}')
        return self._give()

    def _give(self) -> Answer:
        token = self.sign()
        self.tokens.append(token)
        given = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self.lifetime_seconds),
        }
        return Answer(200, json.dumps(given).encode())

    def _jwks(self) -> bytes:
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": KEY_ID,
            "use": "sig",
            "alg": "RS256",
            "n": base64url(numbers.n.to_bytes(256)),
            "e": base64url(numbers.e.to_bytes(3)),
        }
        return json.dumps({"keys": [key]}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(Answer(200, provider._jwks()))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                form = dict(parse_qsl(body))
                request = TokenRequest(form, self.headers.get("Authorization", ""))
                self._reply(provider.answer(request))

            def _reply(self, answer: Answer) -> None:
                if answer.delay_seconds:
                    threading.Event().wait(answer.delay_seconds)
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.body)))
                if 300 <= answer.status < 400:
                    self.send_header("Location", "/jwks")
                with contextlib.suppress(ConnectionError):  # the client has ended meanwhile
                    self.end_headers()
                    self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the base class's
                """Log nothing."""

        return Handler


def _refusal(status: int, error: str, description: str) -> Answer:
    body = json.dumps({"error": error, "error_description": description})
    return Answer(status, body.encode())


def unsecured(subject: str, lifetime_seconds: float) -> str:
    """Return a JWT without a signature, which Kafka's unsecured validator accepts."""
    now = time.time()
    claims = {"sub": subject, "iat": now, "exp": now + lifetime_seconds}
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."


def encoded(document: object) -> str:
    """Return a part of a JWT."""
    return base64url(json.dumps(document).encode())


def base64url(value: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
