"""The measurement of ending logins sees renewed logins, and what happens without them."""

from __future__ import annotations

import pytest

from tests.logins.__main__ import text
from tests.logins.run import SHARDS, Order, run

# A login is renewed after 70 to 85% of its session. The rest is the margin for a busy machine.
SESSION_SECONDS = 10.0
TOKEN_SECONDS = 14.0
# Long enough for a renewal, and for the end of the first sessions.
SECONDS = 12.0
pytestmark = [pytest.mark.timeout(200), pytest.mark.usefixtures("local_brokers")]


def test_logins_are_renewed_under_load() -> None:
    """No shard restarts, and nothing is logged."""
    order = Order(SECONDS, reauth_seconds=SESSION_SECONDS, token_seconds=TOKEN_SECONDS)
    figures = run(order)
    assert figures.renewed_logins > 0
    assert figures.tokens > 0
    assert (figures.shard_restarts, figures.errors, figures.warnings) == (0, 0, 0)
    assert sorted(figures.longest_gaps) == list(range(SHARDS))
    assert f"renewed logins {figures.renewed_logins}" in text(order, figures)


def test_without_renewals_the_broker_closes_the_connections() -> None:
    """So a run with them shows that they are needed. Nothing is lost either way."""
    figures = run(
        Order(
            SECONDS,
            reauth_seconds=SESSION_SECONDS,
            token_seconds=TOKEN_SECONDS,
            is_ending=True,
        )
    )
    assert figures.renewed_logins == 0
    assert figures.logins > 0
    assert figures.warnings + figures.errors > 0
