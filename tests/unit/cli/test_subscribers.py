"""What a check concludes from what it sees."""

from __future__ import annotations

import pytest

from consumer.cli import main
from consumer.cli.subscribers import check_text
from consumer.cli.subscribers_check import CheckResult, WrittenEvent, groups_that_passed
from consumer.kafka.types import ConsumerGroup, GroupListing
from schemas.ready_event import CHECK_TYPE


def listing(**offsets: dict[int, int]) -> GroupListing:
    """Return groups with these committed offsets."""
    groups = [
        ConsumerGroup(group, "classic", "Stable", "range", (), at) for group, at in offsets.items()
    ]
    return GroupListing(tuple(groups), (), {}, lists_all=True)


def result(*, uncommitted: bool, committed_reader: bool, committed: bool = False) -> CheckResult:
    """Return the result of a check with one event that these readers received."""
    event = WrittenEvent(0, 7, uncommitted, committed_reader)
    return CheckResult("check-1", CHECK_TYPE, "ready", committed, (event,))


def test_only_an_offset_after_the_event_proves_something() -> None:
    """A group at the event has not read it, and a leftover of a deleted topic is ignored."""
    before = listing(leftover={0: 1000}, reader={0: 3})
    after = listing(
        leftover={0: 1000}, reader={0: 8}, waiting={0: 7}, new={1: 1}, elsewhere={2: 50}
    )
    assert groups_that_passed(before, after, {0: 7, 1: 0}) == ("reader", "new")


@pytest.mark.parametrize(
    ("uncommitted", "committed_reader", "committed", "problem"),
    [
        (True, False, False, ""),
        (True, True, True, ""),
        (False, False, False, "hide aborted records"),
        (True, True, False, "received the aborted"),
        (True, False, True, "did not receive the committed"),
    ],
)
def test_brokers_that_behave_otherwise(
    *, uncommitted: bool, committed_reader: bool, committed: bool, problem: str
) -> None:
    """Then the check shows nothing about a subscriber, and the command says so."""
    found = result(
        uncommitted=uncommitted, committed_reader=committed_reader, committed=committed
    ).broker_problem
    assert problem in found
    assert bool(found) == bool(problem)


def test_the_text_makes_no_promise_about_groups() -> None:
    """Silence of a group proves nothing."""
    seen = CheckResult("check-1", CHECK_TYPE, "ready", False, (), ("one", "two"))  # noqa: FBT003 - a field
    assert "These groups read uncommitted: one, two" in check_text(seen)
    silent = CheckResult("check-1", CHECK_TYPE, "ready", False, (), ())  # noqa: FBT003 - a field
    assert "no proof" in check_text(silent)
    assert "No group" not in check_text(result(uncommitted=True, committed_reader=False))


@pytest.mark.parametrize(
    "options",
    [("--hold", "11"), ("--hold", "-1"), ("--hold", "nan"), ("--partition", "-1")],
    ids=" ".join,
)
def test_values_out_of_range_are_wrong_usage(options: tuple[str, ...]) -> None:
    """A long hold would keep subscribers waiting."""
    with pytest.raises(SystemExit) as ended:
        main(["subscribers", "check", *options])
    assert ended.value.code == 2


def test_a_hold_of_a_committed_event_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It would prove nothing, and nothing is connected for it."""
    confirmed = ("--committed", "--all-subscribers-filter-by-type")
    assert main(["subscribers", "check", *confirmed, "--hold", "1"]) == 2
    assert "--hold and --committed exclude each other" in capsys.readouterr().err
