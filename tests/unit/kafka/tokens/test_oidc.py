"""Requests to a token endpoint: their form, and what becomes of each answer."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.config import PREFIX, Settings
from consumer.errors import ConfigError
from consumer.kafka.tokens import TokenRefused, TokenUnavailable, source_of
from consumer.kafka.tokens.token import claims
from tests.certificates import Authority
from tests.support.client_assertions import ASSERTION_TYPE, header_of, private_key, verify
from tests.support.token_server import (
    CLIENT_ID,
    CLIENT_SECRET,
    Answer,
    TokenServer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    """Run an identity provider."""
    with TokenServer() as server:
        yield server


def settings(provider: TokenServer, **variables: object) -> Settings:
    """Return the settings of a client of the provider."""
    every = {
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": provider.token_url,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": CLIENT_ID,
        **variables,
    }
    return Settings.load({PREFIX + name: str(value) for name, value in every.items()})


def by_secret(provider: TokenServer, **variables: object) -> Settings:
    """Return the same with a client secret."""
    secret = {"SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": CLIENT_SECRET}
    return settings(provider, **{**secret, **variables})


async def test_a_secret_goes_into_the_header(provider: TokenServer) -> None:
    """Scope and audience go into the form, the secret does not."""
    token = await source_of(
        by_secret(provider, SASL_OAUTHBEARER_SCOPE="a b", SASL_OAUTHBEARER_AUDIENCE="https://kafka")
    ).value()
    assert [token] == provider.tokens
    (request,) = provider.requests
    assert request.form == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "https://kafka",
    }
    decoded = base64.b64decode(request.authorization.removeprefix("Basic ")).decode()
    assert decoded == f"{CLIENT_ID}:{CLIENT_SECRET}"


async def test_a_secret_can_be_encoded_for_a_url(provider: TokenServer) -> None:
    """As RFC 6749 section 2.3.1 says, and Kafka's setting of this name."""
    provider.fault = lambda _: Answer(200, b'{"access_token":"opaque"}')
    source = source_of(by_secret(provider, SASL_OAUTHBEARER_HEADER_URLENCODE="true"))
    assert await source.value() == "opaque"
    decoded = base64.b64decode(provider.requests[0].authorization.removeprefix("Basic ")).decode()
    assert decoded == f"{CLIENT_ID}:a+secret%2Fof+the+client%2B1"


async def test_a_secret_in_a_file_is_read_for_each_request(
    provider: TokenServer, tmp_path: Path
) -> None:
    """It can be rotated."""
    file = tmp_path / "secret"
    file.write_text("an old secret")
    name = "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET"
    loaded = by_secret(provider, **{name: "", f"{name}_FILE": file})
    with pytest.raises(TokenRefused, match=r"answered 401 \(invalid_client\)"):
        await source_of(loaded).value()
    file.write_text(CLIENT_SECRET)
    assert await source_of(loaded).value() == provider.tokens[0]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_private_key_signs_an_assertion(
    provider: TokenServer, tmp_path: Path, algorithm: str
) -> None:
    """A new one for each request, for this client and this endpoint, valid for minutes."""
    key_file = private_key(tmp_path, algorithm)
    loaded = settings(
        provider,
        SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE=key_file,
        SASL_OAUTHBEARER_ASSERTION_ALGORITHM=algorithm,
        SASL_OAUTHBEARER_ASSERTION_KEY_ID="key-7",
    )
    for _ in range(2):
        await source_of(loaded).value()
    first, second = (request.form for request in provider.requests)
    assert first["client_assertion_type"] == ASSERTION_TYPE
    assert first["client_id"] == CLIENT_ID
    said = claims(first["client_assertion"])
    assert (said["iss"], said["sub"], said["aud"]) == (CLIENT_ID, CLIENT_ID, provider.token_url)
    assert said["exp"] - said["iat"] == 300
    assert said["jti"] != claims(second["client_assertion"])["jti"]
    assert header_of(first["client_assertion"]) == {"alg": algorithm, "typ": "JWT", "kid": "key-7"}
    verify(first["client_assertion"], key_file)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_key_that_does_not_fit_is_an_error_of_the_configuration(
    provider: TokenServer, tmp_path: Path, algorithm: str
) -> None:
    """Of the other kind, encrypted, or none at all."""
    other = private_key(tmp_path, "ES256" if algorithm == "RS256" else "RS256")
    with pytest.raises(ConfigError, match=f"does not fit {algorithm}"):
        source_of(keyed(provider, other, algorithm))
    other.write_text("no key")
    with pytest.raises(ConfigError, match="has no private key"):
        source_of(keyed(provider, other, algorithm))
    authority = Authority(tmp_path)
    made = authority.certify("client")
    authority.encrypt(made.key)
    with pytest.raises(ConfigError, match="the key is encrypted"):
        source_of(keyed(provider, made.key, algorithm))


def keyed(provider: TokenServer, file: Path, algorithm: str) -> Settings:
    """Return the settings of a client with a private key."""
    return settings(
        provider,
        SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE=file,
        SASL_OAUTHBEARER_ASSERTION_ALGORITHM=algorithm,
    )


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(503, b"busy"), TokenUnavailable, "answered 503"),
        (Answer(429, b""), TokenUnavailable, "answered 429"),
        (Answer(404, b"<html>"), TokenRefused, "answered 404; check"),
        (Answer(302, b""), TokenRefused, "redirects are not followed"),
        (Answer(200, b"<html>"), TokenRefused, "has no access_token"),
        (Answer(200, b"[]"), TokenRefused, "has no access_token"),
        (Answer(200, b'{"access_token":""}'), TokenRefused, "the token is empty"),
        (
            Answer(400, b'{"error":"invalid_scope","error_description":"scope \\n x"}'),
            TokenRefused,
            r"answered 400 \(invalid_scope: scope x\)",
        ),
    ],
)
async def test_each_answer_without_a_token_says_what_to_do(
    provider: TokenServer, answer: Answer, kind: type[Exception], words: str
) -> None:
    """Those that may pass are retried, the others are refusals."""
    provider.fault = lambda _: answer
    with pytest.raises(kind, match=words):
        await source_of(by_secret(provider)).value()


async def test_no_error_repeats_a_secret(provider: TokenServer) -> None:
    """An endpoint may put what it received into its answer."""

    def echo(request: Any) -> Answer:  # noqa: ANN401 - a request
        text = f"bad secret {CLIENT_SECRET} in {request.authorization}"
        return Answer(401, json.dumps({"error": "bad", "error_description": text}).encode())

    provider.fault = echo
    with pytest.raises(TokenRefused) as caught:
        await source_of(by_secret(provider)).value()
    assert CLIENT_SECRET not in str(caught.value)
    assert provider.requests[0].authorization.removeprefix("Basic ") not in str(caught.value)


async def test_an_untrusted_endpoint_is_named(provider: TokenServer, tmp_path: Path) -> None:
    """An address without a listener, and a file of authorities that is used."""
    Authority(tmp_path)
    loaded = by_secret(
        provider,
        SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL="https://127.0.0.1:1/token",
        SASL_OAUTHBEARER_SSL_CAFILE=tmp_path / "ca.pem",
    )
    with pytest.raises(TokenUnavailable, match=r"https://127\.0\.0\.1:1/token cannot be reached"):
        await source_of(loaded).value()
