"""Inputs that grow: four times the length costs less than six times as much, whatever repeats."""

import re

import pytest

from tests.fuzz.growing import (
    DECIDED,
    FAMILIES,
    MOST_GROWTH,
    MOST_SECONDS_PER_MB,
    Cost,
    Family,
    measure,
)

BACKTRACKING = re.compile(
    r"([^:/\\]+)\.ft-[0-9a-f]{32}(?:-([^:/\\]+))?(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch


@pytest.mark.timeout(180)
def test_no_input_costs_more_than_its_length() -> None:
    """No family grows faster than its input, and no decision takes 0.4 s for 1 MB."""
    costs = {family.name: measure(family) for family in FAMILIES}
    decided = {family.name for family in DECIDED}
    assert {
        name: describe(cost)
        for name, cost in costs.items()
        if cost.growth >= MOST_GROWTH
        or (name in decided and cost.seconds_per_mb >= MOST_SECONDS_PER_MB)
    } == {}


def test_a_pattern_that_backtracks_is_noticed() -> None:
    """The rule finds the model name that once stopped a shard, with the pattern that did it."""
    family = Family(
        "backtracking", lambda n: lambda: BACKTRACKING((".ft-" + "0" * 32 + "-") * (n // 37) + ":")
    )
    assert measure(family).growth >= MOST_GROWTH


def test_names_tell_families_apart() -> None:
    """A report names each family that is too slow."""
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def describe(cost: Cost) -> str:
    """Return a cost for a report."""
    return f"{cost.growth:.1f} times at {cost.size_bytes:,} bytes, {cost.seconds_per_mb:.3f} s/MB"
