"""What a token says about itself, and texts without secrets."""

from __future__ import annotations

import time

import pytest

from consumer.kafka.tokens.token import Token, TokenRefused, claims, describe
from tests.support.token_server import encoded


def jwt(**found: object) -> str:
    """Return a JWT with these claims."""
    return f"{encoded({'alg': 'none'})}.{encoded(found)}."


def test_the_lifetime_is_that_of_the_endpoint_or_of_the_claims() -> None:
    """A clock that is wrong does not shorten the life of a new token."""
    assert Token.of("opaque", 60.0).lifetime_seconds == 60.0
    assert Token.of("opaque").lifetime_seconds == 300.0
    assert Token.of(jwt(iat=1000, exp=1900)).lifetime_seconds == 900.0
    assert Token.of(jwt(exp=time.time() + 100)).lifetime_seconds == pytest.approx(100, abs=5)


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "a\x01b", "é"])
def test_a_text_that_cannot_be_sent_is_refused(text: str) -> None:
    """A control character would end the field of the login."""
    with pytest.raises(TokenRefused, match="characters that a token cannot have"):
        Token.of(text)


@pytest.mark.parametrize("text", ["a", "a.b", "a.b.c", "a.W10.c", f"a.{encoded('text')}.c"])
def test_other_texts_have_no_claims(text: str) -> None:
    """Nothing is assumed about opaque tokens."""
    assert claims(text) == {}
    assert describe(text) == "the token is not a JWT"


def test_a_description_has_no_secret() -> None:
    """Issuer, audience and end; neither the user nor the token."""
    token = jwt(iss="me", aud=["a", "b"], exp=time.time() - 60, sub="ada", key="x" * 50)
    text = describe(token)
    assert "issuer 'me'" in text
    assert "audience \"['a', 'b']\"" in text
    assert "expired 60 s ago" in text
    assert "ada" not in text
    assert token not in text
    assert "no issuer" in describe(jwt(aud="a"))
    assert "expires in" in describe(jwt(exp=time.time() + 60))


def test_a_token_shows_no_value() -> None:
    """Neither its repr nor its text."""
    assert "opaque" not in f"{Token.of('opaque')} {Token.of('opaque')!r}"
