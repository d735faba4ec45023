"""docs/operations/recovery.md, "When the cluster moves": every id once over both clusters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dev.kafka import LocalKafka
from tests.integration.cluster import Cluster
from tests.integration.events import (
    Stream,
    assert_exactly_once,
    event_id,
    scattered,
    wait_until_handled,
)
from tests.integration.service import Deployment

if TYPE_CHECKING:
    from tests.integration.cluster import Names

MOVED = 300


def test_no_id_is_lost_or_published_twice_by_a_move(cluster: Cluster, names: Names) -> None:
    """Ids of before the move are known after it, and repeats of them are dropped there."""
    with LocalKafka() as kafka, Deployment(cluster, names) as old:
        second = Cluster(kafka.bootstrap_servers)
        with Deployment(second, names) as new:
            old_service, new_service = old.start(), new.start()
            with Stream(cluster, old.input_topic, pause_ms=3) as stream:
                stream.wait_for_more(MOVED)
                _carry_over(old, new)  # while the old one still works, so that the pause is short
                stream.wait_for_more(MOVED)
            old_events = assert_exactly_once(cluster, names, stream.ids)
            assert old_service.terminate() == 0
            _carry_over(old, new)
            assert_exactly_once(second, names, stream.ids)  # nobody reads these
            starts = second.end_offsets(new.ready_topic)
            later = [f"later_{number}" for number in range(MOVED)]
            second.produce(new.input_topic, scattered([*later, *stream.ids, *later]))
            wait_until_handled(second, names)
            new_events = [
                record
                for record in second.read(new.ready_topic)
                if record.offset >= starts[record.partition]
            ]
            assert new_service.terminate() == 0
    assert {event_id(record) for record in old_events} == set(stream.ids)
    assert sorted(event_id(record) for record in new_events) == sorted(later)


def _carry_over(old: Deployment, new: Deployment) -> None:
    """Tell the new cluster's group the ids of the old one's ready events."""
    events = old.run("tail", "--all").json_lines
    lines = "".join(json.dumps(event["data"]["checkpoint"]) + "\n" for event in events)
    done = new.run("backfill", "-", "--execute", stdin=lines.encode())
    assert done.exit_code == 0, done.stderr
