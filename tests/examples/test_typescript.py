"""The subscriber in TypeScript on a topic with aborted events."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from dev.subscribers import typescript_subscriber
from tests.examples import scenarios
from tests.examples.harness import Example
from tests.examples.subscriber_tests import SubscriberTests, WebhookTests

if TYPE_CHECKING:
    from tests.examples.history import History

# The first test may compile the native addon.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def example() -> Example:
    """Return the program, compiled once; a native addon of its packages may be compiled too."""
    if any(shutil.which(name) is None for name in ["node", "npm"]):
        pytest.skip("Node.js or npm is missing")
    return Example("typescript", typescript_subscriber())


class TestTypeScript(SubscriberTests, WebhookTests):
    """The program in TypeScript."""

    default_group = "model-registry-typescript"


def test_default_of_the_client(example: Example, history: History) -> None:
    """Without the option, the client (librdkafka) delivers committed events only."""
    scenarios.assert_client_reads_committed_by_default(example, history)
