"""A broker with Kafka's own validators of OAUTHBEARER: for signed and for unsecured tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dev.kafka import LocalKafka
from tests.support.broker_classes import compiled
from tests.support.token_server import AUDIENCE, CLIENT_ID, CLIENT_SECRET, ISSUER, TokenServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIGNED, UNSECURED, EXTENDED = "SIGNED", "UNSECURED", "EXTENDED"
# What the validator of the listener EXTENDED (tests/validators) needs.
EXTENSIONS = {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}
OWN_CLASS = "tests.support.own_tokens:OwnTokens"
_LOGIN = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
_NO_SKEW = {"sasl.oauthbearer.clock.skew.seconds": "0"}


def oauth_kafka(
    provider: TokenServer, *, validators: Path | None = None, **more: str
) -> LocalKafka:
    """Return a broker, not started. Its first listener needs no login.

    Args:
        provider: the identity provider whose signed tokens it accepts.
        validators: a folder for compiled classes; with it there is the listener EXTENDED too.
        more: settings of the broker.
    """
    properties = validator_settings(SIGNED, provider)
    properties |= _listener_settings(UNSECURED, {"sasl.jaas.config": _LOGIN})
    listeners = [SIGNED, UNSECURED]
    if validators is not None:
        properties |= validator_settings(EXTENDED, provider, "ClusterValidator")
        listeners.append(EXTENDED)
    return LocalKafka(
        properties=properties | more,
        extra_listeners=dict.fromkeys(listeners, "SASL_PLAINTEXT"),
        java_options=[jwks_option(provider)],
        class_path=[compiled("validators", validators)] if validators is not None else [],
    )


def validator_settings(
    listener: str, provider: TokenServer, validator: str = _VALIDATOR
) -> dict[str, str]:
    """Return the settings of a broker that validates signed tokens on one listener."""
    settings = {
        "sasl.jaas.config": _LOGIN,
        "sasl.server.callback.handler.class": validator,
        "sasl.oauthbearer.jwks.endpoint.url": provider.jwks_url,
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
    }
    return _listener_settings(listener, settings) | _NO_SKEW


def jwks_option(provider: TokenServer) -> str:
    """Return the option of Java by which a broker may fetch the keys of this provider."""
    return f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={provider.jwks_url}"


def _listener_settings(listener: str, settings: Mapping[str, str]) -> dict[str, str]:
    prefix = f"listener.name.{listener.lower()}"
    found = {f"{prefix}.sasl.enabled.mechanisms": "OAUTHBEARER"}
    return found | {f"{prefix}.oauthbearer.{name}": value for name, value in settings.items()}


def oidc_login(kafka: LocalKafka, provider: TokenServer, **more: object) -> dict[str, Any]:
    """Return the variables of a service that logs in by a client secret."""
    return {"BOOTSTRAP_SERVERS": kafka.listener(SIGNED), **token_login(provider), **more}


def token_login(provider: TokenServer) -> dict[str, Any]:
    """Return the same without the addresses of the brokers."""
    return {
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": provider.token_url,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": CLIENT_ID,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": CLIENT_SECRET,
        "SASL_OAUTHBEARER_SCOPE": "kafka",
    }


def key_login(
    kafka: LocalKafka, provider: TokenServer, key: Path, algorithm: str
) -> dict[str, Any]:
    """Return the variables of a service that logs in by a private key (`private_key_jwt`)."""
    return oidc_login(
        kafka,
        provider,
        SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET="",
        SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE=key,
        SASL_OAUTHBEARER_ASSERTION_ALGORITHM=algorithm,
    )


def own_login(kafka: LocalKafka, listener: str) -> dict[str, Any]:
    """Return the variables of a service that gets tokens from a class of its user."""
    return {
        "BOOTSTRAP_SERVERS": kafka.listener(listener),
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_PROVIDER": OWN_CLASS,
    }


def file_login(kafka: LocalKafka, listener: str, token: Path) -> dict[str, Any]:
    """Return the variables of a service that sends the content of a file."""
    return {
        "BOOTSTRAP_SERVERS": kafka.listener(listener),
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_PROVIDER": "file",
        "SASL_OAUTHBEARER_TOKEN_FILE": token,
    }


def assert_no_secret(text: str, provider: TokenServer) -> None:
    """Expect neither the client's secret nor a token in a text."""
    assert CLIENT_SECRET not in text
    for token in provider.tokens:
        assert token not in text
        assert token.rpartition(".")[2] not in text
