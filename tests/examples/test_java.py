"""The subscriber in Java on a topic with aborted events."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.subscribers import java_subscriber
from tests.examples import scenarios
from tests.examples.harness import Example
from tests.examples.history import is_binary
from tests.examples.scenarios import renamed
from tests.examples.subscriber_tests import SubscriberTests
from tests.examples.webhook_scenarios import three_events
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.examples.history import History
    from tests.support.topics import Names

LARGE_BYTES = 200_000  # more than a pipe holds


@pytest.fixture(scope="module")
def example() -> Example:
    """Return the program, compiled once."""
    if any(shutil.which(tool) is None for tool in ["javac", "mvn"]):
        pytest.skip("Java's compiler or Maven is missing")
    return Example("java", java_subscriber())


class TestJava(SubscriberTests):
    """The program in Java."""

    default_group = "model-registry-java"


def test_default_of_the_client(example: Example, history: History) -> None:
    """Without the option, the Java client delivers aborted events."""
    scenarios.assert_client_reads_uncommitted_by_default(example, history)


def test_evaluation_gets_each_event(
    example: Example, history: History, names: Names, tmp_path: Path
) -> None:
    """The command gets each event as JSON, once although one event comes twice."""
    started = tmp_path / "started"
    with example.start(
        history.bootstrap_servers,
        three_events(history, names),
        group=names.group(),
        EVALUATION_COMMAND=f"cat >> '{started}'; echo >> '{started}'; echo no line of the program",
    ) as running:
        lines = running.wait_for_lines(3)
        assert running.stop_by() == 0
        assert len(running.lines) == 3
    events = [json.loads(text) for text in started.read_text().splitlines()]
    assert [event["id"] for event in events] == [line["id"] for line in lines]
    assert len({event["id"] for event in events}) == 3
    assert {event["type"] for event in events} == {"fine_tuning.job.checkpoint.ready"}


def test_failed_evaluation_is_repeated(example: Example, history: History, names: Names) -> None:
    """If the command fails, the program ends before the commit; a restart gets the event again."""
    group = names.group()
    with example.start(
        history.bootstrap_servers, history.topic, group=group, EVALUATION_COMMAND="exit 3"
    ) as running:
        assert running.wait() == 1
        assert "failed with exit code 3" in running.errors
        assert running.lines == []
    with example.start(history.bootstrap_servers, history.topic, group=group) as running:
        running.wait_for_ids(history.sources)
        assert running.stop_by() == 0


def test_evaluation_that_does_not_read(
    example: Example, history: History, names: Names, tmp_path: Path
) -> None:
    """A command that never reads a large event ends at the timeout, with all its processes."""
    topic, started = names.topic("large"), tmp_path / "started"
    history.cluster.create_topics({topic: 1})
    known = next(one for one in history.committed if not is_binary(one))
    history.cluster.produce(topic, [renamed(known, "large", future="x" * LARGE_BYTES)])
    with example.start(
        history.bootstrap_servers,
        topic,
        group=names.group(),
        EVALUATION_COMMAND=f"sleep 600 & echo $! > '{started}'; wait",
        EVALUATION_TIMEOUT_SECONDS="1",
    ) as running:
        assert running.wait() == 1
        assert "took longer than" in running.errors
        assert running.lines == []
    arguments = Path(f"/proc/{started.read_text().strip()}/cmdline")  # empty: it has ended
    wait_until(
        lambda: not arguments.exists() or not arguments.read_bytes(), what="the end of the command"
    )
    assert history.cluster.group_offsets(names.group()) == {}
