"""A token, how long it is valid, and the errors of getting one. No text here shows a token."""

import base64
import binascii
import re
import time
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from consumer.config import Secret
from consumer.kafka.tokens.masking import masked

# If neither the endpoint nor the token says how long it is valid.
DEFAULT_LIFETIME_SECONDS: Final = 300.0
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class TokenRefused(Exception):
    """No token, for a reason that an operator must fix. The message says what to check."""


class TokenUnavailable(Exception):
    """No token now. A later attempt may succeed."""


class Token(msgspec.Struct, frozen=True):
    """A token and for how long it is valid (s) from the moment at which it was received."""

    value: Secret
    lifetime_seconds: float

    @classmethod
    def of(cls, text: str, lifetime_seconds: float | None = None) -> "Token":
        """Return the token. Without `lifetime_seconds` its own claims say how long it is valid.

        Raises:
            TokenRefused: the text cannot be sent as a token.
        """
        if not _TOKEN.fullmatch(text):
            raise TokenRefused("the token is empty or has characters that a token cannot have")
        if lifetime_seconds is None:
            lifetime_seconds = _lifetime(claims(text))
        return cls(Secret(text), lifetime_seconds)


class TokenLife(NamedTuple):
    """The life of the token with which connections log in (s)."""

    remaining_seconds: float
    """Negative after its end, while there is no new token."""
    lifetime_seconds: float


class TokenSource(Protocol):
    """Returns the token for one login."""

    async def value(self) -> str:
        """Return a token. It returns at once if one is at hand.

        Raises:
            TokenRefused, TokenUnavailable: there is none; the message has no secret.
        """

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions that the source adds to those of the settings.

        Raises:
            TokenRefused, TokenUnavailable: it has none that can be sent; the message has no secret.
        """

    def life(self) -> TokenLife | None:
        """Return how long the present token is valid. None: there is none, or it is not known."""


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a signed or unsecured JWT, unverified; empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        return {}
    try:
        decoded = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        found = msgspec.json.decode(decoded)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _lifetime(found: dict[str, Any]) -> float:
    # A clock of this machine that is wrong must not shorten the life of a new token.
    expires, issued = found.get("exp"), found.get("iat")
    if not isinstance(expires, int | float):
        return DEFAULT_LIFETIME_SECONDS
    return expires - (issued if isinstance(issued, int | float) else time.time())


def describe(token: str) -> str:
    """Return what an operator compares with the broker's settings: issuer, audience, end.

    It has neither the token nor the name of its user.
    """
    found = claims(token)
    if not found:
        return "the token is not a JWT"
    shown = [
        f"{name} {masked(str(found[key]))!r}" if key in found else f"no {name}"
        for name, key in (("issuer", "iss"), ("audience", "aud"))
    ]
    expires = found.get("exp")
    if isinstance(expires, int | float):
        left = expires - time.time()
        shown.append(f"expires in {left:.0f} s" if left > 0 else f"expired {-left:.0f} s ago")
    return f"the token has {', '.join(shown)} by the clock of this machine"
