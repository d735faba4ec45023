"""A broker with Kafka's own validators of OAUTHBEARER: for signed and for unsecured tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dev.kafka import LocalKafka
from tests.support.token_server import AUDIENCE, CLIENT_ID, CLIENT_SECRET, ISSUER, TokenServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIGNED, UNSECURED = "SIGNED", "UNSECURED"
_LOGIN = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
_NO_SKEW = {"sasl.oauthbearer.clock.skew.seconds": "0"}


def oauth_kafka(provider: TokenServer, **more: str) -> LocalKafka:
    """Return a broker, not started. Its first listener needs no login. `more` are its settings."""
    signed = {
        "sasl.jaas.config": _LOGIN,
        "sasl.server.callback.handler.class": _VALIDATOR,
        "sasl.oauthbearer.jwks.endpoint.url": provider.jwks_url,
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
    }
    properties: dict[str, str] = {}
    for listener, settings in ((SIGNED, signed), (UNSECURED, {"sasl.jaas.config": _LOGIN})):
        prefix = f"listener.name.{listener.lower()}"
        properties[f"{prefix}.sasl.enabled.mechanisms"] = "OAUTHBEARER"
        for name, value in settings.items():
            properties[f"{prefix}.oauthbearer.{name}"] = value
    return LocalKafka(
        properties=properties | _NO_SKEW | more,
        extra_listeners={SIGNED: "SASL_PLAINTEXT", UNSECURED: "SASL_PLAINTEXT"},
        java_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={provider.jwks_url}"],
    )


def oidc_login(kafka: LocalKafka, provider: TokenServer, **more: object) -> dict[str, Any]:
    """Return the variables of a service that logs in by a client secret."""
    return {
        "BOOTSTRAP_SERVERS": kafka.listener(SIGNED),
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": provider.token_url,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": CLIENT_ID,
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": CLIENT_SECRET,
        "SASL_OAUTHBEARER_SCOPE": "kafka",
        **more,
    }


def file_login(kafka: LocalKafka, listener: str, token: Path) -> Mapping[str, Any]:
    """Return the variables of a service that sends the content of a file."""
    return {
        "BOOTSTRAP_SERVERS": kafka.listener(listener),
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_PROVIDER": "file",
        "SASL_OAUTHBEARER_TOKEN_FILE": token,
    }
