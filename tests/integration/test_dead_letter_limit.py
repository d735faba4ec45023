"""A topic full of poison stops the service, before it is drained into the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home
from tests.support.verdicts import assert_exactly_once, wait_until_handled

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

LIMIT: dict[str, Any] = {"DEAD_LETTER_LIMIT_PERCENT": 20, "DEAD_LETTER_WINDOW_RECORDS": 50}
MOST_DEAD_LETTERS = 9  # the tenth of 50 reaches 20%
END_SECONDS = 30.0


def poison(count: int) -> list[NewRecord]:
    """Return records of partition 0 that cannot be published."""
    return [NewRecord(b"no JSON %d" % number, b"key", 0) for number in range(count)]


def sound(ids: list[str]) -> list[NewRecord]:
    """Return records of partition 0 that can be published."""
    return [NewRecord(checkpoint(one), one.encode(), 0) for one in ids]


def refusal(service: ServiceProcess) -> str:
    """Return the last line of a process that has ended by the limit."""
    assert service.wait(END_SECONDS) == 1, service.tail()
    lines = [line["text"] for line in service.lines if "text" in line]
    assert len(lines) == 1, service.tail()
    return str(lines[0])


def test_a_flood_stops_and_stays_unread(cluster: Cluster, names: Names) -> None:
    """Nothing of a flood becomes a dead letter, however often the process starts again."""
    ids = ids_at_home(0, 3, 20)
    with Deployment(cluster, names, **LIMIT) as deployment:
        cluster.produce(deployment.input_topic, sound(ids[:10]))
        first = deployment.start()
        first.wait_for_log("transaction_committed", published=10)
        wait_until_handled(cluster, names)
        cluster.produce(deployment.input_topic, [*poison(500), *sound(ids[10:])])
        for service in (first, deployment.start(), deployment.start()):
            line = refusal(service)
            assert f"{deployment.input_topic}/0 has 10 records" in line
            assert "malformed_json 10" in line
            assert "CHECKPOINT_READY_DEAD_LETTER_LIMIT_PERCENT" in line
            (logged,) = service.logged("dead_letter_limit_reached")
            assert logged["unread_from"] >= 10
        assert len(cluster.read(deployment.dead_letter_topic)) <= MOST_DEAD_LETTERS
        assert len(cluster.read(deployment.ready_topic)) == 10
        last = deployment.start(DEAD_LETTER_LIMIT_PERCENT=0)
        deployment.wait_until_running(3, last)
        assert_exactly_once(cluster, names, ids)
        assert len(cluster.read(deployment.dead_letter_topic)) == 500


def test_a_trickle_does_not_pass_restart_by_restart(cluster: Cluster, names: Names) -> None:
    """Poison that comes one by one, each met by a process just started, is added up."""
    with Deployment(cluster, names, **LIMIT) as deployment:
        for count in (4, 5):
            cluster.produce(deployment.input_topic, poison(count))
            service = deployment.start()
            deployment.wait_until_running(3, service)
            wait_until_handled(cluster, names)
            assert service.terminate() == 0
        for _ in range(2):
            cluster.produce(deployment.input_topic, poison(1))
            assert "has 10 records" in refusal(deployment.start())
        assert len(cluster.read(deployment.dead_letter_topic)) == MOST_DEAD_LETTERS


def test_conflicting_duplicates_do_not_count(cluster: Cluster, names: Names) -> None:
    """They keep nothing from the subscribers: the ids are published."""
    ids = ids_at_home(0, 3, 10)
    variants = [
        NewRecord(checkpoint(one, step_number=n), b"key", 0) for one in ids for n in range(5)
    ]
    with Deployment(cluster, names, **LIMIT) as deployment:
        cluster.produce(deployment.input_topic, variants)
        service = deployment.start()
        deployment.wait_until_running(3, service)
        assert_exactly_once(cluster, names, ids)
        assert len(cluster.read(deployment.dead_letter_topic)) == 40
        assert not service.has_ended


def test_a_flood_of_conflicts_stops_and_stays_unread(cluster: Cluster, names: Names) -> None:
    """A field that changes with every record counts, once an id has no room for more contents."""
    (one,) = ids_at_home(0, 3, 1)
    polls = [NewRecord(checkpoint(one, fetched_at=n), b"key", 0) for n in range(200)]
    remembered = 8
    with Deployment(cluster, names, **LIMIT) as deployment:
        cluster.produce(deployment.input_topic, polls[: 1 + remembered])
        first = deployment.start()
        deployment.wait_until_running(3, first)
        assert_exactly_once(cluster, names, [one])
        for poll in polls[1 + remembered : 10 + remembered]:  # one by one, below the limit
            cluster.produce(deployment.input_topic, [poll])
        wait_until_handled(cluster, names)
        assert first.terminate() == 0
        letters = remembered + MOST_DEAD_LETTERS
        assert len(cluster.read(deployment.dead_letter_topic)) == letters
        cluster.produce(deployment.input_topic, polls[10 + remembered :])
        for service in (deployment.start(), deployment.start()):
            line = refusal(service)
            assert "conflicting_duplicate" in line
        assert len(cluster.read(deployment.dead_letter_topic)) == letters


def test_tombstones_do_not_count(cluster: Cluster, names: Names) -> None:
    """A compacted input deletes keys by them: before a restart and after it none stops a shard."""
    ids = ids_at_home(0, 3, 2)
    tombstones = [NewRecord(None, b"key %d" % number, 0) for number in range(60)]
    with Deployment(cluster, names, **LIMIT) as deployment:
        for one in ids:
            cluster.produce(deployment.input_topic, [*tombstones, *sound([one])])
            service = deployment.start()
            deployment.wait_until_running(3, service)
            wait_until_handled(cluster, names)
            assert service.terminate() == 0
        assert_exactly_once(cluster, names, ids)
        letters = cluster.read(deployment.dead_letter_topic)
        assert {letter.header("checkpoint-ready.reason") for letter in letters} == {b"tombstone"}
        assert len(letters) == 2 * len(tombstones)
