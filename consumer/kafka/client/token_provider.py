"""Gives aiokafka the tokens of OAUTHBEARER, and says why a login by a token failed."""

from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider

from consumer.config import Settings
from consumer.kafka.tokens import (
    TokenLife,
    TokenRefused,
    TokenSource,
    TokenUnavailable,
    describe,
    masked,
    source_of,
)

# A client that receives an error message in an answer sends this, and then gets the error itself
# (RFC 7628 section 3.2.3).
ERROR_RECEIVED = b"\x01"


class TokenLoginRefused(kafka_errors.SaslAuthenticationFailed):
    """An operator must fix the login by token. The first argument says what to check."""

    def __str__(self) -> str:
        """Return the message, without the name of the class that the library puts before it."""
        return str(self.args[0])


class NoToken(kafka_errors.KafkaConnectionError):
    """There is no token now, so there is no connection now. The first argument says why."""

    def __str__(self) -> str:
        """Return the message, without the name of the class that the library puts before it."""
        return str(self.args[0])


class TokenProvider(AbstractTokenProvider):
    """The tokens of all connections of a process."""

    def __init__(self, source: TokenSource, extensions: dict[str, str]) -> None:
        """`extensions` are the SASL extensions of the settings."""
        self._source = source
        self._extensions = extensions
        self._last = ""
        self._sent: dict[str, str] = {}

    @classmethod
    def of(cls, settings: Settings) -> "TokenProvider":
        """Return the provider that the settings describe.

        Raises:
            ConfigError: as ``source_of``.
        """
        return cls(source_of(settings), dict(settings.sasl_oauthbearer_extensions))

    async def token(self) -> str:
        """Return the token for one login, and keep the extensions that are sent with it.

        Raises:
            TokenLoginRefused: an operator must fix something.
            NoToken: a later login may succeed.
        """
        try:
            self._last = await self._source.value()
            # Here, so that a connection does not begin a login for which it has no extensions.
            self._sent = self._source.extensions() | self._extensions
        except TokenRefused as error:
            raise TokenLoginRefused(str(error)) from error
        except TokenUnavailable as error:
            raise NoToken(str(error)) from error
        except Exception as error:  # noqa: BLE001 - it would end a task of the library
            text = f"the source of the tokens failed ({type(error).__name__})"
            raise NoToken(text) from None
        return self._last

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions of the settings and of the source, for the last token."""
        return self._sent

    def life(self) -> TokenLife | None:
        """Return how long the present token is valid, if known."""
        return self._source.life()

    def refusal(self, answer: str) -> TokenLoginRefused:
        """Return the error for a token that the broker refused. `answer` is what the broker said.

        The broker says only that the token is invalid. Its log has the reason.
        """
        said = masked(answer, self._last)
        return TokenLoginRefused(
            f"the broker refused the token ({said}): {describe(self._last)}; compare it with the "
            "broker's sasl.oauthbearer.expected.issuer and expected.audience and with its clock, "
            "and check CHECKPOINT_READY_SASL_OAUTHBEARER_*. The log of the broker has the reason"
        )


class TokenDialog:
    """The messages of one login by a token (RFC 7628 section 3).

    The library takes any answer of the broker for a success. After an error message the broker then
    closes the connection at the next request, and says nothing.
    """

    def __init__(self, provider: AbstractTokenProvider) -> None:
        self._provider = provider
        self._is_sent = False

    async def step(self, answer: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message, and that it has an answer; None at the end of the dialog.

        Raises:
            TokenLoginRefused, NoToken: as ``TokenProvider.token``.
        """
        if self._is_sent:
            return (ERROR_RECEIVED, True) if answer else None
        token = await self._provider.token()
        self._is_sent = True
        fields = {"auth": f"Bearer {token}", **self._provider.extensions()}
        message = "".join(f"{name}={value}\x01" for name, value in fields.items())
        return f"n,,\x01{message}\x01".encode(), True
