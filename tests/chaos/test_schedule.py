"""What is drawn: the same from the same seed, and in time everything."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.schedule import PLANS, Kind, Lane, draw_faults

SEED = 7


@pytest.mark.parametrize("lane", Lane)
def test_the_same_seed_draws_the_same_faults(lane: Lane) -> None:
    """Two schedules of one seed are equal in every drawn number; another seed's differs."""
    first, again = (list(islice(draw_faults(SEED, lane), 100)) for _ in range(2))
    assert first == again
    assert first != list(islice(draw_faults(SEED + 1, lane), 100))


def test_every_kind_comes_once_before_any_comes_again() -> None:
    """Each lane deals all of its kinds in a round, and the lanes have every kind there is."""
    dealt = []
    for lane in Lane:
        kinds = [kind for kind, plan in PLANS.items() if plan.lane is lane]
        for round_number in range(3):
            begin = round_number * len(kinds)
            faults = islice(draw_faults(SEED, lane), begin, begin + len(kinds))
            assert sorted(fault.kind for fault in faults) == sorted(kinds)
        dealt += kinds
    assert sorted(dealt) == sorted(Kind)


def test_what_is_drawn_lies_in_its_range() -> None:
    """A zombie always sleeps longer than the session, a frozen transaction than its timeout."""
    for lane in Lane:
        for fault in islice(draw_faults(SEED, lane), 200):
            plan = PLANS[fault.kind]
            assert plan.hold_seconds.least <= fault.hold_seconds <= plan.hold_seconds.most
            assert plan.delay_seconds.least <= fault.delay_seconds <= plan.delay_seconds.most
            assert 0 <= fault.victim <= 1
            assert 0 <= fault.target <= 1
