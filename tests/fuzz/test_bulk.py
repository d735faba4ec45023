"""Mutants in bulk: the service and an independent reading of the contract never differ."""

import pytest

from tests.builders import record
from tests.fuzz.budget import TooSlow
from tests.fuzz.bulk import run
from tests.fuzz.faults import Fault, place
from tests.fuzz.findings import FINDINGS, Finding
from tests.fuzz.judge import Disagreement, Shard
from tests.fuzz.mutate import Mutator
from tests.fuzz.oracle import read
from tests.fuzz.seeds import ALL_SEEDS

PAYLOADS = 50_000
OUTCOMES = {
    "published",
    "duplicate",
    "forwarded",
    "tombstone",
    "malformed_json",
    "invalid_schema",
    "wrong_object_type",
    "too_deep",
    "too_large",
    "conflicting_duplicate",
}


@pytest.mark.timeout(600)
def test_mutants_are_published_or_dead_letters_with_the_right_reason() -> None:
    """No exception escapes, none is slow, every outcome is the oracle's, and all of them occur."""
    outcome = run(PAYLOADS, seed=1)
    assert outcome.payloads == PAYLOADS
    assert set(outcome.counts) == OUTCOMES, outcome.describe()
    assert outcome.counts["published"] > PAYLOADS / 20, "mutants that are all poison show little"


@pytest.mark.parametrize("fault", Fault)
def test_planted_faults_are_noticed(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline with one small fault does not get through a few thousand mutants."""
    monkeypatch.setattr(*place(fault))
    with pytest.raises((Disagreement, TooSlow, TypeError)):
        run(5000, seed=2)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_findings(finding: Finding) -> None:
    """What fuzzing once found stays mended; the oracle and the service say the same."""
    outcomes, _ = Shard().judge([record(raw=finding.value, headers=finding.headers)])
    assert outcomes == {finding.outcome: 1}


def test_mutants_are_the_same_for_the_same_seed() -> None:
    """A finding can be had again, and another seed gives other mutants."""
    some, same, other = (
        [mutator.record(offset) for offset in range(500)]
        for mutator in (Mutator(3), Mutator(3), Mutator(4))
    )
    assert some == same
    assert some != other


def test_the_oracle_takes_every_valid_seed() -> None:
    """Most seeds are checkpoints: mutation starts from what is right."""
    readings = [read(seed.text, seed.headers) for seed in ALL_SEEDS]
    assert sum(not isinstance(reading, str) for reading in readings) > len(ALL_SEEDS) / 2


def test_the_oracle_knows_nothing_of_the_service() -> None:
    """It imports neither our code nor the library that our code parses with."""
    from tests.fuzz import oracle, strict_json  # noqa: PLC0415 - looked into, not used

    for module in (oracle, strict_json):
        names = {getattr(found, "__module__", None) or "" for found in vars(module).values()}
        assert not {name for name in names if name.split(".")[0] in {"consumer", "schemas"}}
        assert "msgspec" not in vars(module)
