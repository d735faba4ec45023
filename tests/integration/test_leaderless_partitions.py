"""A partition without a leader: its only broker of three is dead. All other partitions go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import NewTopic

from consumer.kafka.topic_settings import CHANGELOG_CONFIGS, REPARTITION_CONFIGS
from dev.kafka import LocalKafka
from tests.integration.leaderless_client import LeaderlessClient
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.http_client import ask, start_observed
from tests.support.reader import Reader
from tests.support.records import NewRecord, checkpoint, home_shard, ids_at_home
from tests.support.verdicts import assert_exactly_once, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
NODE = 3  # the node that dies
LOST = NODE - 1  # the partition that has its only replica there
HEALTHY = [partition for partition in range(SHARDS) if partition != LOST]
FENCED_SECONDS = 20.0
ADDED_SECONDS = 30.0
PUBLISHED_SECONDS = 15.0


class ThreeNodes(Cluster):
    """Three nodes. Partition p of a topic of `one_replica` is only on node p + 1."""

    def __init__(self, kafka: LocalKafka, one_replica: Sequence[str]) -> None:
        """Connect."""
        super().__init__(kafka.bootstrap_servers)
        self.kafka = kafka
        self._one_replica = frozenset(one_replica)

    def create_topics(
        self,
        partitions: Mapping[str, int],
        config: Mapping[str, str] | None = None,
        *,
        replication_factor: int = -1,
    ) -> None:
        """Create topics, as ``Cluster`` does."""
        ours = {name: count for name, count in partitions.items() if name in self._one_replica}
        for name, count in ours.items():
            nodes = [[number + 1] for number in range(count)]
            new = NewTopic(name, count, replica_assignment=nodes, config=dict(config or {}))
            self.admin.create_topics([new])[name].result(30)
            self._wait_for_leaders(name, count)
        others = {name: count for name, count in partitions.items() if name not in ours}
        if others:
            super().create_topics(others, config, replication_factor=replication_factor)

    def client(self, mode: str, topic: str, partitions: Iterable[int]) -> LeaderlessClient:
        """Start a librdkafka client beside the service, in a process of its own."""
        return LeaderlessClient(mode, self.bootstrap_servers, topic, partitions)

    def lose_node(self, topic: str) -> None:
        """Kill the node and wait until a partition of this topic has no leader."""
        self.kafka.kill(NODE)

        def is_leaderless() -> bool:
            found = self.admin.list_topics(topic, timeout=10).topics[topic]
            return found.partitions[LOST].leader < 0

        wait_until(is_leaderless, FENCED_SECONDS, what="the end of the leader")


@pytest.fixture(scope="module")
def nodes(local_brokers: None) -> Iterator[LocalKafka]:  # noqa: ARG001 - for its effect
    """Three nodes for the tests of this module."""
    with LocalKafka(3, properties={"broker.session.timeout.ms": "3000"}) as kafka:
        yield kafka


@pytest.fixture
def three(nodes: LocalKafka) -> LocalKafka:
    """Three nodes that all run, also after a test that failed."""
    if nodes.pid(NODE) is None:
        nodes.restart(NODE)
    return nodes


def ids_everywhere(prefix: str, count: int = 4) -> list[str]:
    """Return ids of every home shard."""
    return [one for s in range(SHARDS) for one in ids_at_home(s, SHARDS, count, prefix)]


def to_partitions(ids: Sequence[str], partitions: Sequence[int]) -> list[NewRecord]:
    """Return a record of each id, so that each partition gets ids of every home shard."""
    return [
        NewRecord(checkpoint(one, job=f"job-{one}"), None, partitions[number % len(partitions)])
        for number, one in enumerate(ids)
    ]


def wait_for_each_shard(reader: Reader, ids: Sequence[str]) -> dict[int, float]:
    """Return after how many seconds each home shard has published its ids; the log shows it."""
    began, seconds = time.monotonic(), dict[int, float]()

    def are_published() -> bool:
        reader.read_available()
        there = {event_id(record) for record in reader.records}
        for shard in set(range(SHARDS)) - seconds.keys():
            if {one for one in ids if home_shard(one, SHARDS) == shard} <= there:
                seconds[shard] = round(time.monotonic() - began, 2)
        return len(seconds) == SHARDS

    wait_until(are_published, PUBLISHED_SECONDS, what="the events of all shards")
    return seconds


def test_an_input_partition_without_a_leader(three: LocalKafka, names: Names) -> None:
    """Shards start without it, and publish what comes in elsewhere. Later it is read too.

    Processes are killed while it is left out, and right after it was added.
    """
    cluster = ThreeNodes(three, [names.topic("input")])
    before, late = ids_everywhere("before"), ids_everywhere("late")
    with Deployment(cluster, names, input_partitions=SHARDS, SHARDS=SHARDS) as deployment:
        services = [deployment.start("one"), deployment.start("two")]
        deployment.wait_until_running(SHARDS, *services)
        cluster.produce(deployment.input_topic, to_partitions(before, range(SHARDS)))
        assert_exactly_once(cluster, names, before)
        assert [service.terminate() for service in services] == [0, 0]
        # New ids, and repeats of ids that are published already or will be meanwhile.
        first, second, third = (ids_everywhere(name) for name in ("first", "second", "third"))
        waiting = [*late, *before[::3], *first[::3], *second[::3]]
        cluster.produce(deployment.input_topic, to_partitions(waiting, [LOST]))
        cluster.lose_node(deployment.input_topic)

        services = [deployment.restart(service) for service in services]
        with (
            cluster.subscriber(deployment.ready_topic) as reader,
            cluster.client("read", deployment.input_topic, range(SHARDS)) as client,
        ):
            deployment.wait_until_running(SHARDS, *services)
            began = time.time()
            cluster.produce(deployment.input_topic, to_partitions(first, HEALTHY))
            ours = wait_for_each_shard(reader, first)
            theirs = client.seconds(first, began)
            print(f"ids of healthy partitions: librdkafka {theirs}, shards {ours}")  # noqa: T201 - figures
            line = deferring(services).wait_for_log("sources_deferred", shard=LOST)
            assert line["sources"] == {f"{deployment.input_topic}/{LOST}": "it has no leader"}

            deferring(services).kill()  # while the source is left out
            services = [it if not it.has_ended else deployment.restart(it) for it in services]
            cluster.produce(deployment.input_topic, to_partitions(second, HEALTHY))
            print("second", wait_for_each_shard(reader, second))  # noqa: T201 - figures
            assert not set(late) & {event_id(record) for record in reader.records}

        three.restart(NODE)
        holder = deferring(services)
        holder.wait_for_log("sources_added", ADDED_SECONDS, shard=LOST)
        holder.kill()  # right after it was added
        assert not holder.logged("watchdog")
        services = [it if not it.has_ended else deployment.restart(it) for it in services]
        cluster.produce(deployment.input_topic, to_partitions(third, range(SHARDS)))
        assert_exactly_once(cluster, names, [*before, *late, *first, *second, *third])
        for service in deployment.processes:
            assert not [it for it in service.logged("task_failed") if "list offsets" in it["error"]]


def deferring(services: Sequence[ServiceProcess]) -> ServiceProcess:
    """Return the process that runs the shard of the lost partition."""
    return wait_until(
        lambda: next((it for it in services if LOST in it.running_shards()), None), 30.0
    )


def test_an_output_partition_without_a_leader(three: LocalKafka, names: Names) -> None:
    """Shards start. Only records from the first on whose event belongs there wait."""
    ready, beside = names.topic("ready"), names.topic("beside")
    cluster = ThreeNodes(three, [ready, beside])
    cluster.create_topics({beside: SHARDS})
    cluster.create_topics(
        {ready: SHARDS}, {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "1200000"}
    )
    before = ids_everywhere("before")
    with Deployment(cluster, names, input_partitions=SHARDS, SHARDS=SHARDS) as deployment:
        service = deployment.start("one")
        cluster.produce(deployment.input_topic, to_partitions(before, range(SHARDS)))
        events = assert_exactly_once(cluster, names, before)
        # A job's events are in one partition: these jobs are known to have a leader, or not.
        jobs = {
            record.partition: f"job-{event_id(record)}"
            for record in sorted(events, key=lambda it: it.partition)
        }
        assert jobs.keys() == {0, 1, 2}
        assert service.terminate() == 0
        cluster.lose_node(ready)

        service = deployment.restart(service)
        deployment.wait_until_running(SHARDS, service)
        fine, stuck, later = (ids_everywhere(name) for name in ("fine", "stuck", "later"))
        with (
            Reader(cluster.settings, ready, tolerant=True) as reader,
            cluster.client("write", beside, HEALTHY) as client,
        ):

            def are_published() -> bool:
                reader.records += reader.poll()
                return set(fine) <= {event_id(record) for record in reader.records}

            theirs = client.seconds(map(str, HEALTHY))
            began = time.monotonic()
            cluster.produce(deployment.input_topic, of_job(fine, jobs[HEALTHY[0]]))
            wait_until(are_published, PUBLISHED_SECONDS, what="events to a healthy partition")
            ours = time.monotonic() - began
        print(f"events to healthy partitions: librdkafka {theirs}, service {ours:.2f} s")  # noqa: T201 - figures
        assert not service.logged("task_failed")
        cluster.produce(deployment.input_topic, of_job(stuck[:1], jobs[LOST]))
        shard = home_shard(stuck[0], SHARDS)
        line = service.wait_for_log("transaction_waits_for_leader", shard=shard)
        assert f"{ready}/{LOST}" in line["error"]
        others = [one for one in later if home_shard(one, SHARDS) != shard]
        cluster.produce(deployment.input_topic, of_job(others, jobs[HEALTHY[1]]))
        with Reader(cluster.settings, ready, tolerant=True) as reader:
            fine = others
            wait_until(are_published, PUBLISHED_SECONDS, what="the events of the other shards")
        service.kill()
        service = deployment.restart(service)
        three.restart(NODE)
        left = [one for one in later if one not in others]
        cluster.produce(deployment.input_topic, of_job([*left, *stuck[1:]], jobs[LOST]))
        wait_until_handled(cluster, names)
        expected = [*before, *ids_everywhere("fine"), *stuck, *later]
        assert_exactly_once(cluster, names, expected)


def of_job(ids: Sequence[str], job: str) -> list[NewRecord]:
    """Return a record of each id, on the input partition that its home shard reads."""
    return [NewRecord(checkpoint(one, job=job), None, home_shard(one, SHARDS)) for one in ids]


OWN_TOPICS = {
    "changelog": CHANGELOG_CONFIGS,
    "repartition": {**REPARTITION_CONFIGS, "max.message.bytes": "1200000"},
}


@pytest.mark.parametrize("window_seconds", [0, 3600], ids=["no window", "window"])
@pytest.mark.parametrize("role", OWN_TOPICS)
def test_a_restart_while_a_shard_has_no_leader_of_its_own(
    three: LocalKafka, names: Names, role: str, window_seconds: int
) -> None:
    """The shard waits and the others go on. It starts when the leader is back."""
    topic = f"{names.group()}.{role}"
    cluster = ThreeNodes(three, [topic])
    cluster.create_topics({topic: SHARDS}, OWN_TOPICS[role])
    before, fine, stuck = (ids_everywhere(name) for name in ("before", "fine", "stuck"))
    theirs = [one for one in fine if home_shard(one, SHARDS) != LOST]
    with Deployment(
        cluster, names, input_partitions=SHARDS, SHARDS=SHARDS, DEDUP_WINDOW_SECONDS=window_seconds
    ) as deployment:
        service, port = start_observed(deployment)
        deployment.wait_until_running(SHARDS, service)
        cluster.produce(deployment.input_topic, to_partitions(before, range(SHARDS)))
        assert_exactly_once(cluster, names, before)
        assert service.terminate() == 0
        cluster.lose_node(topic)

        service = deployment.restart(service)
        wait_until(lambda: service.running_shards() == set(HEALTHY), what="the other shards")
        repeated = [one for one in before if home_shard(one, SHARDS) != LOST]
        with cluster.subscriber(deployment.ready_topic) as reader:

            def are_published() -> bool:
                reader.read_available()
                return set(theirs) <= {event_id(record) for record in reader.records}

            cluster.produce(deployment.input_topic, to_partitions([*theirs, *repeated], HEALTHY))
            wait_until(are_published, PUBLISHED_SECONDS, what="the events of the other shards")
        line = service.wait_for_log("task_failed", shard=LOST)
        assert f"{topic}/{LOST}" in line["error"]
        waits = f"shard {LOST} waits: "
        wait_until(lambda: waits in ask(port, "/readyz").text, what="the reason")
        ready = ask(port, "/readyz")
        assert (ready.status, ask(port, "/livez").status) == (503, 200)
        assert f"{topic}/{LOST}" in next(it for it in ready.text.splitlines() if waits in it)
        assert not service.logged("task_failed", shard=HEALTHY[0])

        # What is at home there, or comes in there, waits; also through a crash.
        mine = [one for one in fine if one not in theirs]
        cluster.produce(deployment.input_topic, to_partitions([*stuck, *mine], range(SHARDS)))
        if role == "repartition":
            line = service.wait_for_log("transaction_waits_for_leader")
            assert f"{topic}/{LOST}" in line["error"]
        assert not service.has_ended
        service.kill()
        service = deployment.restart(service)
        service.wait_for_log("task_failed", shard=LOST)
        three.restart(NODE)
        deployment.wait_until_running(SHARDS, service, deadline_seconds=ADDED_SECONDS)
        assert_exactly_once(cluster, names, [*before, *fine, *stuck])
        wait_until(lambda: ask(port, "/readyz").status == 200, what="the end of the wait")
        assert not service.logged("shard_refused")
