"""Tokens of a class of the user: `CHECKPOINT_READY_SASL_OAUTHBEARER_PROVIDER=module:Class`."""

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from consumer.errors import ConfigError
from consumer.kafka.tokens.masking import masked, secrets_of_process
from consumer.kafka.tokens.token import Token, TokenRefused, TokenUnavailable

TOKEN_SECONDS: Final = 20.0
# RFC 7628 section 3.1, and Kafka's OAuthBearerClientInitialResponse.
_EXTENSION_NAME: Final = re.compile(r"[A-Za-z]+")
_EXTENSION_VALUE: Final = re.compile(r"[\x21-\x7e \t\r\n]+")
_RESERVED: Final = "auth"


class CustomTokens:
    """Calls `token()` of an object of the user for each login.

    The interface is aiokafka's ``AbstractTokenProvider``: `async def token() -> str`, which keeps
    its token until shortly before the end, and, if wanted, `extensions() -> dict[str, str]`.
    Whatever the object does becomes one of two errors. The next login calls it again.
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
        except Exception as error:  # noqa: BLE001 - any error of the user's class
            raise ConfigError(f"{problem}: {_reason(error)}") from None
        if not inspect.iscoroutinefunction(getattr(self._provider, "token", None)):
            raise ConfigError(f"{problem}: the class has no method `async def token(self) -> str`")
        self._extensions: Callable[[], object] | None = getattr(self._provider, "extensions", None)
        if self._extensions is not None and (
            not callable(self._extensions) or inspect.iscoroutinefunction(self._extensions)
        ):
            raise ConfigError(
                f"{problem}: `extensions` of the class must be a method "
                "`def extensions(self) -> dict[str, str]`"
            )

    def extensions(self) -> dict[str, str]:
        """Return the extensions of the object, if it has the method.

        Raises:
            TokenUnavailable: it raises an exception.
            TokenRefused: what it returns cannot be sent.
        """
        if self._extensions is None:
            return {}
        try:
            found = self._extensions()
            pairs = list(found.items()) if isinstance(found, Mapping) else None
        except Exception as error:  # noqa: BLE001 - any error of the user's class
            text = f"no SASL extensions of {self._name}: {_reason(error)}"
            raise TokenUnavailable(text) from None
        if found is None:
            return {}
        if pairs is None:
            raise self._refusal("extensions", f"{_kind(found)} instead of dict[str, str]")
        return {self._checked_name(name): self._checked_value(name, text) for name, text in pairs}

    def life(self) -> None:
        """Return None: the object renews its token."""

    async def value(self) -> str:
        """Return what the object returns.

        Raises:
            TokenUnavailable: it raises an exception, or takes too long.
            TokenRefused: what it returns cannot be sent as a token.
        """
        # A task of its own: if the object cancels itself, the caller is not cancelled.
        running: asyncio.Task[Any] = asyncio.create_task(self._provider.token())
        # asyncio logs exceptions that nothing has read, and they may have secrets.
        running.add_done_callback(_read_exception)
        try:
            await asyncio.wait([running], timeout=TOKEN_SECONDS)
        finally:
            running.cancel()  # no effect if it is done
        if not running.done():
            raise TokenUnavailable(f"{self._name}: no token within {TOKEN_SECONDS:g} s")
        if running.cancelled():
            raise TokenUnavailable(f"no token of {self._name}: CancelledError")
        error = running.exception()
        if error is not None:
            raise TokenUnavailable(f"no token of {self._name}: {_reason(error)}") from None
        text = running.result()
        if not isinstance(text, str):
            raise self._refusal("token", f"{_kind(text)} instead of str")
        try:
            return Token.of(text).value.reveal()
        except TokenRefused as refusal:
            raise TokenRefused(f"{self._name}: {refusal}") from None

    def _checked_name(self, name: object) -> str:
        if not isinstance(name, str):
            raise self._refusal("extensions", f"{_kind(name)} as a name instead of str")
        if not _EXTENSION_NAME.fullmatch(name):
            raise self._refusal("extensions", "a name with other characters than letters")
        if name.lower() == _RESERVED:
            raise self._refusal("extensions", f"the name {name}, which is reserved")
        return name

    def _checked_value(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._refusal("extensions", f"{_kind(value)} instead of str for {name}")
        if not _EXTENSION_VALUE.fullmatch(value):
            what = f"for {name} no text, or characters that are not printable ASCII"
            raise self._refusal("extensions", what)
        return value

    def _refusal(self, method: str, what: str) -> TokenRefused:
        """Return the error for a result. It does not show the result, which may be a secret."""
        return TokenRefused(f"{self._name}: {method}() returned {what}; correct the class")


def _read_exception(ended: "asyncio.Task[Any]") -> None:
    if not ended.cancelled():
        ended.exception()


def _kind(value: object) -> str:
    return type(value).__name__


def _reason(error: BaseException) -> str:
    text = masked(str(error), *secrets_of_process())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
