"""The checker on a real broker: it sees every planted fault, and nothing where there is none."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
from confluent_kafka import Producer

from tests.chaos.checker import Checker
from tests.chaos.planted import Fault, with_fault
from tests.chaos.workload import Workload
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, send
from tests.support.topics import Topics
from tests.support.verdicts import CONFLICT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.checker import Verdict
    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
INPUT_PARTITIONS = 4
SEED = 7
RECORDS_PER_SECOND = 500
# Takes each event alone, and none of the batches into which they are put at this rate.
READY_MAX_BYTES = 8_000
COMMIT_INTERVAL_MS = 1000
HANDLED_SECONDS = 60.0


class Run(NamedTuple):
    """A service under a workload."""

    deployment: Deployment
    service: ServiceProcess
    workload: Workload

    def wait_for_more(self, records: int) -> None:
        """Return when the brokers have taken so many records more."""
        goal = self.workload.produced + records
        what = f"{records} records more"
        wait_until(lambda: self.workload.produced >= goal, HANDLED_SECONDS, what=what)

    def wait_for_commits(self, **counts: int) -> None:
        """Return when the service has committed so many more of each count, as its log tells."""
        begin = len(self.service.lines)

        def are_committed() -> bool:
            lines = self.service.logged("transaction_committed", after=begin)
            return all(sum(line[name] for line in lines) >= n for name, n in counts.items())

        wait_until(are_committed, HANDLED_SECONDS, what=f"commits of {counts}")

    def wait_for_invalid_records(self, count: int) -> None:
        """Return when the service has committed this many dead letters of invalid records."""

        def are_written() -> bool:
            lines = self.service.logged("transaction_committed")
            written: int = sum(
                number
                for line in lines
                for reason, number in line["dead_letters"].items()
                if reason != CONFLICT
            )
            return written >= count

        wait_until(are_written, HANDLED_SECONDS, what=f"{count} dead letters of invalid records")


def leave_alone(run: Run) -> ServiceProcess:
    """Let it work: records of one id come on all partitions."""
    run.wait_for_more(1000)
    return run.service


def refuse_batches(run: Run) -> ServiceProcess:
    """Lower the ready topic's limit while the service runs, so that the broker refuses batches."""
    run.wait_for_more(200)
    deployment = run.deployment
    deployment.cluster.set_config(deployment.ready_topic, max_message_bytes=str(READY_MAX_BYTES))
    run.wait_for_more(1000)
    return run.service


def delete_group_offsets(run: Run) -> ServiceProcess:
    """Delete the group with its offsets while the service is down."""
    run.wait_for_invalid_records(10)
    assert run.service.terminate() == 0, run.service.tail()
    run.deployment.cluster.delete_group(run.deployment.group)
    again = run.deployment.restart(run.service)
    run.wait_for_more(500)
    return again


def open_transaction(deployment: Deployment, topic: str, records: list[NewRecord]) -> Producer:
    """Let a foreign producer open a transaction on a topic, and return it."""
    foreign = Producer(
        {**deployment.cluster.settings, "transactional.id": deployment.names.group("foreign")}
    )
    foreign.init_transactions(20)
    foreign.begin_transaction()
    send(foreign, topic, records)
    return foreign


def hide_the_changelog(run: Run) -> ServiceProcess:
    """Hold the changelog back by a foreign transaction while the service is killed and restarts."""
    deployment = run.deployment
    run.wait_for_commits(published=50)
    mark = json.dumps({"version": 1, "owner": "foreign"}).encode()
    marks = [NewRecord(mark, b"f:", shard) for shard in range(SHARDS)]
    foreign = open_transaction(deployment, deployment.changelog_topic, marks)
    run.wait_for_commits(published=300)  # which no restart can see
    run.service.kill()
    again = deployment.restart(run.service)

    def has_come_back() -> bool:
        waiting = {line["shard"] for line in again.logged("restore_waiting")}
        return len(again.running_shards() | waiting) == SHARDS

    wait_until(has_come_back, HANDLED_SECONDS, what="shards that run or wait for the changelog")
    run.wait_for_more(500)
    foreign.commit_transaction(20)
    return again


FAULTS = [
    (Fault.UNCHECKED_COMMIT, refuse_batches, "lost: "),
    (Fault.EARLY_STATE, refuse_batches, "lost: "),
    (Fault.TRUSTED_OFFSETS, delete_group_offsets, "dead letter twice: "),
    (Fault.NO_FORWARDING, leave_alone, "published twice: "),
    (Fault.SHORT_RESTORE, hide_the_changelog, "published twice: "),
]


def topics_of(deployment: Deployment) -> Topics:
    """Return the topics of a deployment by their roles."""
    return deployment.topics._replace(shards=SHARDS)


def judge(
    cluster: Cluster, names: Names, provoke: Callable[[Run], ServiceProcess], fault: Fault | None
) -> tuple[Verdict, ServiceProcess]:
    """Run the service, faulty or not, under a workload and a provocation."""
    with Deployment(
        cluster,
        names,
        input_partitions=INPUT_PARTITIONS,
        SHARDS=SHARDS,
        COMMIT_INTERVAL_MS=COMMIT_INTERVAL_MS,
    ) as deployment:
        topics = topics_of(deployment)
        workload = Workload(
            cluster.settings, topics.input, SEED, records_per_second=RECORDS_PER_SECOND
        )
        checker = Checker(cluster.settings, topics)
        command = ("consumer", "run") if fault is None else with_fault(fault)
        service = deployment.start("one", command=command)
        deployment.wait_until_running(SHARDS, service)
        checker.start()
        workload.start()
        service = provoke(Run(deployment, service, workload))
        workload.stop()
        verdict = checker.finish(HANDLED_SECONDS)
        assert verdict.facts["produced"] == workload.produced
        return verdict, service


@pytest.mark.parametrize(("fault", "provoke", "kind"), FAULTS, ids=[f for f, _, _ in FAULTS])
def test_a_planted_fault_is_caught(
    cluster: Cluster,
    names: Names,
    fault: Fault,
    provoke: Callable[[Run], ServiceProcess],
    kind: str,
) -> None:
    """A service with this fault breaks its promise under this provocation, and is caught."""
    verdict, _ = judge(cluster, names, provoke, fault)
    assert any(sentence.startswith(kind) for sentence in verdict.violations), verdict


@pytest.mark.parametrize(
    "provoke", [leave_alone, refuse_batches, delete_group_offsets, hide_the_changelog]
)
def test_the_sound_service_stands_the_same(
    cluster: Cluster, names: Names, provoke: Callable[[Run], ServiceProcess]
) -> None:
    """The service as it is keeps its promise under the same provocation."""
    verdict, service = judge(cluster, names, provoke, None)
    assert verdict.violations == [], service.tail()
    facts = verdict.facts
    assert facts["published"] == facts["distinct_ids"] > 100
    assert min(facts["invalid_records"], facts["conflicting"], facts["duplicates"]) > 0
    if provoke is refuse_batches:  # it went the way that this is about
        assert any("large" in line["error"].lower() for line in service.logged("task_failed"))


def test_what_is_left_undone_is_told(cluster: Cluster, names: Names) -> None:
    """Without a service there are lost records, lag, and a transaction that nobody ends."""
    with Deployment(cluster, names, input_partitions=INPUT_PARTITIONS, SHARDS=SHARDS) as deployment:
        topics = topics_of(deployment)
        workload = Workload(cluster.settings, topics.input, SEED, records_per_second=1000)
        checker = Checker(cluster.settings, topics, quiet_seconds=2)
        checker.start()
        workload.start()
        wait_until(lambda: workload.produced >= 200, HANDLED_SECONDS, what="200 records")
        workload.stop()
        foreign = open_transaction(deployment, topics.ready, [NewRecord(b"{}", None, 1)])
        verdict = checker.finish(0)
        foreign.abort_transaction(20)
    kinds = Counter(sentence.partition(": ")[0] for sentence in verdict.violations)
    assert {"lost", "lag", "cannot be read to its end"} <= set(kinds)
    assert not {"published twice", "order"} & set(kinds)
    facts = verdict.facts
    assert facts["lost"] == facts["distinct_ids"] + facts["invalid_records"]
    assert facts["published"] == 0
