"""Tokens of a class of the user: `CHECKPOINT_READY_SASL_OAUTHBEARER_PROVIDER=module:Class`."""

import asyncio
import inspect
from importlib import import_module
from typing import Any, Final

from consumer.errors import ConfigError
from consumer.kafka.tokens.token import Token, TokenUnavailable, masked

TOKEN_SECONDS: Final = 20.0


class CustomTokens:
    """Calls `token()` of an object of the user for each login.

    The interface is aiokafka's ``AbstractTokenProvider``: `async def token() -> str`, which keeps
    its token until shortly before the end, and, if wanted, `extensions() -> dict[str, str]`.
    """

    def __init__(self, name: str) -> None:
        """Import the class and create its object, without arguments. `name` is ``module:Class``.

        Raises:
            ConfigError: it cannot be imported or created, or has no such method.
        """
        self._name = name
        module, _, attribute = name.partition(":")
        problem = f"CHECKPOINT_READY_SASL_OAUTHBEARER_PROVIDER={name}"
        try:
            self._provider: Any = getattr(import_module(module), attribute)()
        except Exception as error:
            raise ConfigError(f"{problem}: {type(error).__name__}: {masked(str(error))}") from error
        if not inspect.iscoroutinefunction(getattr(self._provider, "token", None)):
            raise ConfigError(f"{problem}: the class has no method `async def token(self) -> str`")

    def extensions(self) -> dict[str, str]:
        """Return the extensions of the object, if it has the method."""
        method = getattr(self._provider, "extensions", None)
        return dict(method()) if method is not None else {}

    async def value(self) -> str:
        """Return what the object returns.

        Raises:
            TokenUnavailable: it raises an exception, or takes too long.
            TokenRefused: what it returns cannot be sent as a token.
        """
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                text = await self._provider.token()
        except TimeoutError:
            raise TokenUnavailable(f"{self._name}: no token within {TOKEN_SECONDS:g} s") from None
        except Exception as error:  # noqa: BLE001 - any error of the user's class
            reason = f"{type(error).__name__}: {masked(str(error))}"
            raise TokenUnavailable(f"no token of {self._name}: {reason}") from None
        return Token.of(str(text)).value.reveal()
