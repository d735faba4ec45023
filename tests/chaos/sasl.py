"""How the services of a run log in: the settings of the brokers, and those of the services.

The listeners of the run itself need no login.
"""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.support.oauth_kafka import jwks_option, token_login, validator_settings
from tests.support.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import Iterable

USER, PASSWORD = "service", "a-password-of-the-tests"
JAAS = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'


class Mechanism(enum.StrEnum):
    """By what the services prove their identity."""

    PLAIN = "plain"
    OAUTHBEARER = "oauthbearer"


class LoginOrder(NamedTuple):
    """How the services log in, and after which time they must log in again."""

    mechanism: Mechanism = Mechanism.PLAIN
    reauth_seconds: float = 30.0
    token_seconds: float = 40.0
    """How long a token is valid. A session ends with its token at the latest."""

    @property
    def has_tokens(self) -> bool:
        """Whether the services log in by tokens."""
        return self.mechanism is Mechanism.OAUTHBEARER


class Login:
    """The login of one run; a context manager that runs the identity provider, if one is needed."""

    def __init__(self, order: LoginOrder) -> None:
        self._order = order
        self._running = ExitStack()
        self.tokens = TokenServer(order.token_seconds) if order.has_tokens else None

    def __enter__(self) -> Self:
        """Start the identity provider."""
        if self.tokens is not None:
            self._running.enter_context(self.tokens)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the identity provider."""
        self._running.close()

    def broker_settings(self, listeners: Iterable[str]) -> dict[str, str]:
        """Return the settings of brokers on whose listeners (SASL_PLAINTEXT) services log in."""
        found = {"connections.max.reauth.ms": str(int(self._order.reauth_seconds * 1000))}
        for listener in listeners:
            if self.tokens is not None:
                found |= validator_settings(listener, self.tokens)
            else:
                prefix = f"listener.name.{listener.lower()}"
                found[f"{prefix}.sasl.enabled.mechanisms"] = "PLAIN"
                found[f"{prefix}.plain.sasl.jaas.config"] = JAAS
        return found

    def java_options(self) -> list[str]:
        """Return the options of the brokers' Java."""
        return [jwks_option(self.tokens)] if self.tokens is not None else []

    def service_settings(self) -> dict[str, Any]:
        """Return the variables of a service, without the addresses of the brokers."""
        if self.tokens is not None:
            return token_login(self.tokens)
        return {
            "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SASL_MECHANISM": "PLAIN",
            "SASL_USERNAME": USER,
            "SASL_PASSWORD": PASSWORD,
        }
