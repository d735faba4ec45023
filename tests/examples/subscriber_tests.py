"""The tests of a subscriber in any language. A module of a language has the fixture ``example``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.examples import failure_scenarios, scenarios
from tests.examples.aborted_orders import assert_filters_every_order
from tests.examples.webhook_scenarios import (
    assert_410_stops_webhooks,
    assert_quotes_ids,
    assert_sends_signed_webhooks,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.harness import Example
    from tests.examples.history import History
    from tests.support.topics import Names


class SubscriberTests:
    """What every program must do."""

    default_group: str
    """The consumer group without GROUP_ID."""

    def test_each_id_is_printed_once(self, example: Example, history: History) -> None:
        """With read_committed, aborted events are not delivered; both content modes are decoded."""
        scenarios.assert_prints_each_id_once(example, history)

    def test_aborted_events_in_any_order(
        self, example: Example, history: History, names: Names
    ) -> None:
        """The client filters aborted transactions also if they overlap or repeat."""
        assert_filters_every_order(example, history, names)

    def test_read_uncommitted_delivers_aborted_events(
        self, example: Example, history: History
    ) -> None:
        """With read_uncommitted, the ids of aborted transactions occur again."""
        scenarios.assert_uncommitted_sees_more(example, history)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_stop_and_restart(
        self, example: Example, history: History, names: Names, number: signal.Signals
    ) -> None:
        """The signal ends the program between two events; after a restart it continues there."""
        scenarios.assert_stops_cleanly(example, history, names, number)

    def test_foreign_records_are_skipped(
        self, example: Example, history: History, names: Names
    ) -> None:
        """Records that are no ready event do not end the program; unknown members are allowed."""
        scenarios.assert_ignores_foreign_records(example, history, names)

    def test_no_broker(self, example: Example) -> None:
        """Without a broker the program ends with one line that names the address."""
        scenarios.assert_fails_without_broker(example)

    def test_missing_topic(self, example: Example, history: History, names: Names) -> None:
        """Without the topic the program ends with one line that names it."""
        scenarios.assert_fails_without_the_topic(example, history, names)

    def test_default_group(self, example: Example, history: History, names: Names) -> None:
        """Without GROUP_ID the program has a group that no example in another language has."""
        failure_scenarios.assert_has_a_group_of_its_own(example, history, names, self.default_group)

    def test_full_disk(self, example: Example, history: History, names: Names) -> None:
        """An event whose line cannot be written is not committed."""
        failure_scenarios.assert_commits_only_printed_events(example, history, names)

    def test_unknown_isolation_level(self, example: Example) -> None:
        """A wrong isolation level is refused, instead of being replaced by a default."""
        with example.start(
            "127.0.0.1:1", "unused", group="unused", isolation="commited"
        ) as running:
            assert running.wait() == 2
            assert running.errors.splitlines() == [
                "ISOLATION_LEVEL must be read_committed or read_uncommitted, not commited"
            ]


class WebhookTests:
    """What a program must do that sends webhooks."""

    def test_webhooks_are_signed_and_repeated(
        self, example: Example, history: History, names: Names, tmp_path: Path
    ) -> None:
        """Each event is sent once the receiver accepts it, with a valid signature."""
        assert_sends_signed_webhooks(example, history, names, tmp_path)

    def test_ids_are_quoted(
        self, example: Example, history: History, names: Names, tmp_path: Path
    ) -> None:
        """An id with line breaks, dots or letters outside ASCII is sent as in any language."""
        assert_quotes_ids(example, history, names, tmp_path)

    def test_410_stops_webhooks(
        self, example: Example, history: History, names: Names, tmp_path: Path
    ) -> None:
        """A receiver that answers 410 Gone gets no more events."""
        assert_410_stops_webhooks(example, history, names, tmp_path)
