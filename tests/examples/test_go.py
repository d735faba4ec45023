"""The subscriber in Go on a topic with aborted events."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from dev.subscribers import go_subscriber
from tests.examples import scenarios
from tests.examples.harness import Example
from tests.examples.subscriber_tests import SubscriberTests, WebhookTests

if TYPE_CHECKING:
    from tests.examples.history import History


@pytest.fixture(scope="module")
def example() -> Example:
    """Return the program, which Go builds once."""
    if shutil.which("go") is None:
        pytest.skip("Go is missing")
    return Example("go", go_subscriber())


class TestGo(SubscriberTests, WebhookTests):
    """The program in Go."""

    default_group = "model-registry-go"


def test_default_of_the_client(example: Example, history: History) -> None:
    """Without the option, franz-go delivers aborted events."""
    scenarios.assert_client_reads_uncommitted_by_default(example, history)
