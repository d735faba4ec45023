"""How an example subscriber starts and fails. A test of an example calls these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.history import is_binary
from tests.examples.scenarios import renamed

if TYPE_CHECKING:
    from tests.examples.harness import Example
    from tests.examples.history import History
    from tests.support.records import NewRecord
    from tests.support.topics import Names


def assert_commits_only_printed_events(example: Example, history: History, names: Names) -> None:
    """Assert that an event is not committed if its line could not be written."""
    topic, group = _one_event(history, names), names.group()
    full = example._replace(
        command=("/bin/sh", "-c", 'exec "$@" > /dev/full', "sh", *example.command)
    )
    with full.start(history.bootstrap_servers, topic, group=group) as running:
        assert running.wait() == 1
    assert history.cluster.group_offsets(group) == {}
    with example.start(history.bootstrap_servers, topic, group=group) as running:
        running.wait_for_ids({"only"})
        assert running.stop_by() == 0


def assert_has_a_group_of_its_own(
    example: Example, history: History, names: Names, group: str
) -> None:
    """Assert that this is the group of the example if no other is set."""
    topic = _one_event(history, names)
    with example.start(history.bootstrap_servers, topic, group="") as running:
        running.wait_for_ids({"only"})
        assert running.stop_by() == 0
    assert history.cluster.group_offsets(group)[topic, 0] == 1


def only_event(history: History) -> NewRecord:
    """Return a ready event in structured mode with the id `only`."""
    return renamed(next(one for one in history.committed if not is_binary(one)), "only")


def _one_event(history: History, names: Names) -> str:
    topic = names.topic("one")
    history.cluster.create_topics({topic: 1})
    history.cluster.produce(topic, [only_event(history)])
    return topic
