"""The pytest plugin: the fixture `ready_topic`, a topic of a real broker for each test.

The option ``--kafka-bootstrap-servers`` or the variable ``KAFKA_BOOTSTRAP_SERVERS`` gives the
address of the broker. confluent-kafka is loaded only by a test that uses the fixture.
"""

from __future__ import annotations

import os
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkpoint_ready_testkit.ready_topic import ReadyTopic

OPTION: Final = "--kafka-bootstrap-servers"
VARIABLE: Final = "KAFKA_BOOTSTRAP_SERVERS"
MARKER: Final = "ready_topic"
NAME_CHARS: Final = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with the address of the broker."""
    parser.getgroup("checkpoint-ready").addoption(
        OPTION,
        metavar="HOST:PORT",
        default=os.environ.get(VARIABLE),
        help=f"brokers for the fixture ready_topic (default: the variable {VARIABLE})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(partitions=1, mode='structured'): the topic of the fixture ready_topic",
    )


@pytest.fixture(scope="session")
def ready_topic_client_settings(pytestconfig: pytest.Config) -> dict[str, Any]:
    """Return the settings of librdkafka for the brokers. Override it to add TLS or a login."""
    bootstrap_servers = pytestconfig.getoption(OPTION)
    if not bootstrap_servers:
        pytest.fail(
            f"the fixture ready_topic needs a broker: give {OPTION} or {VARIABLE}", pytrace=False
        )
    return {"bootstrap.servers": bootstrap_servers}


@pytest.fixture
def ready_topic(
    request: pytest.FixtureRequest, ready_topic_client_settings: dict[str, Any]
) -> Iterator[ReadyTopic]:
    """Create a topic, to which the test publishes ready events. Delete it after the test.

    ``@pytest.mark.ready_topic(partitions=3, mode="binary")`` changes the topic.
    """
    try:
        from checkpoint_ready_testkit.ready_topic import ReadyTopic  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: install checkpoint-ready-testkit[kafka]", pytrace=False)

    marker = request.node.get_closest_marker(MARKER)
    arguments = {} if marker is None else marker.kwargs
    test = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.name)[:NAME_CHARS]
    name = f"{test}-{uuid.uuid4().hex[:12]}"
    with ReadyTopic(ready_topic_client_settings, name=name, **arguments) as topic:
        yield topic
