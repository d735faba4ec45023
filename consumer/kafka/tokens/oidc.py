"""Tokens of an identity provider: the grant `client_credentials` (RFC 6749 section 4.4).

The client proves its identity by a secret, or by an assertion: a JWT that it signs itself
(`private_key_jwt`), or that something else renews in a file (RFC 7523 section 2.2, KIP-1258).
"""

import base64
from typing import Final, Protocol
from urllib.parse import quote_plus

from consumer.config import Secret, Settings
from consumer.kafka.tokens.endpoint import TokenEndpoint
from consumer.kafka.tokens.files import read_token_file
from consumer.kafka.tokens.threads import SingleThread
from consumer.kafka.tokens.token import Token

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Proof(Protocol):
    """How the client proves its identity to the token endpoint."""

    def add_to(self, form: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        """Add parameters. Return the header Authorization, and the secrets of the request."""


class SecretProof:
    """A client secret in the header, as Kafka's own client sends it (`client_secret_basic`)."""

    def __init__(self, client_id: str, secret: Secret, *, is_encoded: bool) -> None:
        """With `is_encoded` both are encoded for a URL before (RFC 6749 section 2.3.1)."""
        self._client_id = client_id
        self._secret = secret
        self._is_encoded = is_encoded

    def add_to(self, form: dict[str, str]) -> tuple[str, tuple[str, ...]]:  # noqa: ARG002 - the protocol
        """Return the header."""
        secret = self._secret.reveal()
        pair = (self._client_id, secret)
        if self._is_encoded:
            pair = (quote_plus(pair[0]), quote_plus(pair[1]))
        encoded = base64.b64encode(":".join(pair).encode()).decode()
        return f"Basic {encoded}", (secret, pair[1], encoded)


class AssertionFileProof:
    """A client assertion in a file, such as the projected service-account token of a pod."""

    def __init__(self, client_id: str, path: str) -> None:
        self._client_id = client_id
        self._path = path

    def add_to(self, form: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        """Add the present content of the file."""
        assertion = read_token_file(self._path)
        _add_assertion(form, self._client_id, assertion)
        return "", (assertion,)


class PrivateKeyProof:
    """A client assertion that this process signs for each request (`private_key_jwt`)."""

    def __init__(self, settings: Settings) -> None:
        """Check the key.

        Raises:
            ConfigError: the extra `oauth` is missing, or the key cannot be used.
        """
        from consumer.kafka.tokens.signature import AssertionSigner  # noqa: PLC0415 - an extra

        self._client_id = settings.sasl_oauthbearer_client_credentials_client_id
        self._audience = (
            settings.sasl_oauthbearer_assertion_claim_aud
            or settings.sasl_oauthbearer_token_endpoint_url
        )
        self._signer = AssertionSigner(
            settings.sasl_oauthbearer_assertion_private_key_file,
            settings.sasl_oauthbearer_assertion_algorithm,
            settings.sasl_oauthbearer_assertion_key_id,
        )

    def add_to(self, form: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        """Add a new assertion. Its id is new, so that an endpoint can refuse a repeated one."""
        assertion = self._signer.sign(self._client_id, self._audience)
        _add_assertion(form, self._client_id, assertion)
        return "", (assertion,)


def _add_assertion(form: dict[str, str], client_id: str, assertion: str) -> None:
    form["client_id"] = client_id
    form["client_assertion_type"] = ASSERTION_TYPE
    form["client_assertion"] = assertion


class OidcTokens:
    """Requests tokens from a token endpoint."""

    def __init__(self, settings: Settings, proof: Proof) -> None:
        self._endpoint = TokenEndpoint(
            settings.sasl_oauthbearer_token_endpoint_url, settings.sasl_oauthbearer_ssl_cafile
        )
        self._proof = proof
        self._thread = SingleThread("token-endpoint")
        self._form = {"grant_type": "client_credentials"}
        for name, value in (
            ("scope", settings.sasl_oauthbearer_scope),
            ("audience", settings.sasl_oauthbearer_audience),
        ):
            if value:
                self._form[name] = value

    async def fetch(self) -> Token:
        """Return a new token.

        Raises:
            TokenRefused, TokenUnavailable: as ``TokenEndpoint.post`` and ``read_token_file``.
        """
        return await self._thread.run(self._request)

    def _request(self) -> Token:
        form = dict(self._form)
        authorization, secrets = self._proof.add_to(form)
        return self._endpoint.post(form, authorization, secrets)


def proof_of(settings: Settings) -> Proof:
    """Return how the client of these settings proves its identity.

    Raises:
        ConfigError: as ``PrivateKeyProof``.
    """
    client_id = settings.sasl_oauthbearer_client_credentials_client_id
    if settings.sasl_oauthbearer_assertion_file:
        return AssertionFileProof(client_id, settings.sasl_oauthbearer_assertion_file)
    if settings.sasl_oauthbearer_assertion_private_key_file:
        return PrivateKeyProof(settings)
    return SecretProof(
        client_id,
        settings.sasl_oauthbearer_client_credentials_client_secret,
        is_encoded=settings.sasl_oauthbearer_header_urlencode,
    )
