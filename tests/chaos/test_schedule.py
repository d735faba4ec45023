"""What is drawn: the same from the same seed, and in time everything."""

from __future__ import annotations

import hashlib
import json
from itertools import islice

import pytest

from tests.chaos.schedule import PLANS, Kind, Lane, draw_faults

SEED = 7
HAS_TOKENS = pytest.mark.parametrize("has_tokens", [False, True])
# SHA-256 of the first 200 faults as JSON. A change makes the commands of former runs useless.
DRAWN = {
    Lane.SERVICES: "bdf8daf74476a3cf",
    Lane.BROKERS: "97000117f9d62c10",
    Lane.NETWORK: "ad50ac824d57805e",
}


@pytest.mark.parametrize("lane", Lane)
def test_the_same_seed_draws_the_same_faults(lane: Lane) -> None:
    """Two schedules of one seed are equal in every drawn number; another seed's differs."""
    first, again = (list(islice(draw_faults(SEED, lane), 100)) for _ in range(2))
    assert first == again
    assert first != list(islice(draw_faults(SEED + 1, lane), 100))


@pytest.mark.parametrize("lane", Lane)
def test_a_seed_draws_what_it_drew_in_former_runs(lane: Lane) -> None:
    """The faults of the token endpoint change only their own lane, and only if they are wanted."""
    drawn = list(islice(draw_faults(SEED, lane), 200))
    assert hashlib.sha256(json.dumps(drawn).encode()).hexdigest().startswith(DRAWN[lane])
    with_tokens = list(islice(draw_faults(SEED, lane, has_tokens=True), 200))
    assert (with_tokens == drawn) is (lane is not Lane.NETWORK)


@HAS_TOKENS
def test_every_kind_comes_once_before_any_comes_again(*, has_tokens: bool) -> None:
    """Each lane deals all of its kinds in a round, and the lanes have every kind there is."""
    wanted = [kind for kind, plan in PLANS.items() if has_tokens or not plan.needs_tokens]
    dealt = []
    for lane in Lane:
        kinds = [kind for kind in wanted if PLANS[kind].lane is lane]
        for round_number in range(3):
            begin = round_number * len(kinds)
            drawn = draw_faults(SEED, lane, has_tokens=has_tokens)
            faults = islice(drawn, begin, begin + len(kinds))
            assert sorted(fault.kind for fault in faults) == sorted(kinds)
        dealt += kinds
    assert sorted(dealt) == sorted(wanted)
    assert (sorted(wanted) == sorted(Kind)) is has_tokens


@HAS_TOKENS
def test_what_is_drawn_lies_in_its_range(*, has_tokens: bool) -> None:
    """A zombie always sleeps longer than the session, a frozen transaction than its timeout."""
    for lane in Lane:
        for fault in islice(draw_faults(SEED, lane, has_tokens=has_tokens), 200):
            plan = PLANS[fault.kind]
            assert plan.hold_seconds.least <= fault.hold_seconds <= plan.hold_seconds.most
            assert plan.delay_seconds.least <= fault.delay_seconds <= plan.delay_seconds.most
            assert 0 <= fault.victim <= 1
            assert 0 <= fault.target <= 1
