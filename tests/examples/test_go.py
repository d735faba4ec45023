"""The subscriber in Go on a topic with aborted events."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from dev.subscribers import go_subscriber
from tests.examples import failure_scenarios, scenarios
from tests.examples.aborted_orders import assert_filters_every_order
from tests.examples.harness import Example
from tests.examples.webhook_scenarios import (
    assert_410_stops_webhooks,
    assert_quotes_ids,
    assert_sends_signed_webhooks,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.history import History
    from tests.support.topics import Names


@pytest.fixture(scope="module")
def example() -> Example:
    """Return the program, which Go builds once."""
    if shutil.which("go") is None:
        pytest.skip("Go is missing")
    return Example("go", go_subscriber())


def test_each_id_is_printed_once(example: Example, history: History) -> None:
    """With read_committed, the aborted events are not delivered; both content modes are decoded."""
    scenarios.assert_prints_each_id_once(example, history)


def test_aborted_events_in_any_order(example: Example, history: History, names: Names) -> None:
    """The client filters aborted transactions also if they overlap or repeat."""
    assert_filters_every_order(example, history, names)


def test_read_uncommitted_delivers_aborted_events(example: Example, history: History) -> None:
    """With read_uncommitted, the ids of aborted transactions occur again."""
    scenarios.assert_uncommitted_sees_more(example, history)


def test_default_of_the_client(example: Example, history: History) -> None:
    """Without the option, franz-go delivers aborted events."""
    scenarios.assert_client_reads_uncommitted_by_default(example, history)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_and_restart(
    example: Example, history: History, names: Names, number: signal.Signals
) -> None:
    """The signal ends the program between two events; after a restart it continues there."""
    scenarios.assert_stops_cleanly(example, history, names, number)


def test_foreign_records_are_skipped(example: Example, history: History, names: Names) -> None:
    """Records that are no ready event do not end the program; unknown members are allowed."""
    scenarios.assert_ignores_foreign_records(example, history, names)


def test_no_broker(example: Example) -> None:
    """Without a broker the program ends with one line that names the address."""
    scenarios.assert_fails_without_broker(example)


def test_missing_topic(example: Example, history: History, names: Names) -> None:
    """Without the topic the program ends with one line that names it."""
    failure_scenarios.assert_fails_without_topic(example, history, names)


def test_default_group(example: Example, history: History, names: Names) -> None:
    """Without GROUP_ID the program has a group that no example in another language has."""
    group = "model-registry-go"
    failure_scenarios.assert_has_a_group_of_its_own(example, history, names, group)


def test_full_disk(example: Example, history: History, names: Names) -> None:
    """An event whose line cannot be written is not committed."""
    failure_scenarios.assert_commits_only_printed_events(example, history, names)


def test_unknown_isolation_level(example: Example) -> None:
    """A wrong isolation level is refused, instead of being replaced by a default."""
    with example.start("127.0.0.1:1", "unused", group="unused", isolation="commited") as running:
        assert running.wait() == 2
        assert running.errors.splitlines() == [
            "ISOLATION_LEVEL must be read_committed or read_uncommitted, not commited"
        ]


def test_webhooks_are_signed_and_repeated(
    example: Example, history: History, names: Names, tmp_path: Path
) -> None:
    """Each event is sent once the receiver accepts it, with a valid signature."""
    assert_sends_signed_webhooks(example, history, names, tmp_path)


def test_ids_are_quoted(example: Example, history: History, names: Names, tmp_path: Path) -> None:
    """An id with line breaks, dots or letters outside ASCII is sent as in the other languages."""
    assert_quotes_ids(example, history, names, tmp_path)


def test_410_stops_webhooks(
    example: Example, history: History, names: Names, tmp_path: Path
) -> None:
    """A receiver that answers 410 Gone gets no more events."""
    assert_410_stops_webhooks(example, history, names, tmp_path)
