"""`topics check --probe` on real brokers: what it finds, its rights, and that it cleans up."""

from __future__ import annotations

import re
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from consumer.cli.acls import PROBE, needed_acls
from consumer.config import Settings
from consumer.shard.events import Step
from dev.kafka import LocalKafka
from tests.integration import skewed_tool
from tests.integration.signalled_tool import tool_signalled_at
from tests.support.cluster import Cluster
from tests.support.command_line import environment, run_at_once, run_command, run_in_terminal
from tests.support.secured_kafka import granted
from tests.support.service_process import ServiceProcess
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.command_line import Finished
    from tests.support.secured_kafka import Acl, SecuredKafka
    from tests.support.topics import Names

COMMAND = ("topics", "check", "--probe")
TESTS = {
    "login",
    "topic settings",
    "broker settings",
    "DescribeConfigs",
    "retention",
    "max.message.bytes",
    "LogAppendTime",
    "clock",
    "fencing",
    "transactions",
    "compaction",
    "DeleteRecords",
    "DescribeProducers",
    "consumer group",
}


def variables(cluster: Cluster, names: Names) -> dict[str, str]:
    """Return the environment of a probe."""
    return environment({"BOOTSTRAP_SERVERS": cluster.bootstrap_servers, "GROUP_ID": names.group()})


def probe(cluster: Cluster, names: Names) -> Finished:
    """Run the probe; it needs no topic of the service."""
    return run_command(
        *COMMAND, BOOTSTRAP_SERVERS=cluster.bootstrap_servers, GROUP_ID=names.group()
    )


def remaining(cluster: Cluster, names: Names) -> set[str]:
    """Return the temporary topics of the probes of this group."""
    return {name for name in cluster.topics() if name.startswith(f"{names.group()}.probe-")}


def test_every_test_passes_on_a_kafka(cluster: Cluster, names: Names) -> None:
    """In JSON elsewhere than on a terminal, and nothing remains."""
    probed = probe(cluster, names)
    assert (probed.exit_code, probed.stderr) == (0, "")
    assert probed.json["can_run"] is True
    assert probed.json["brokers"] == 1
    assert {it["name"] for it in probed.json["findings"]} == TESTS
    assert {it["status"] for it in probed.json["findings"]} == {"ok"}
    assert remaining(cluster, names) == set()


def test_a_table_on_a_terminal(cluster: Cluster, names: Names) -> None:
    """With `--json` the terminal gets JSON, too."""
    servers = {"BOOTSTRAP_SERVERS": cluster.bootstrap_servers, "GROUP_ID": names.group()}
    shown = run_in_terminal(*COMMAND, **servers)
    assert shown.exit_code == 0
    assert "The service can run on this cluster" in shown.stdout
    assert "DeleteRecords" in shown.stdout
    assert run_in_terminal(*COMMAND, "--json", **servers).stdout.lstrip().startswith("{")


@pytest.mark.usefixtures("local_brokers")
def test_a_cluster_that_cannot_run_the_service(names: Names) -> None:
    """A single broker that requires three replicas of its own topics: exit code 1."""
    own = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor")
    with LocalKafka(properties=dict.fromkeys(own, "3")) as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        probed = probe(cluster, names)
        assert probed.exit_code == 1
        assert probed.json["can_run"] is False
        missing = {it["name"] for it in probed.json["findings"] if it["status"] == "missing"}
        assert missing == {"broker settings", "transactions", "consumer group"}
        assert "offsets.topic.replication.factor is 3; set it to 1 or less" in probed.stderr
        assert "the service cannot publish exactly once" in probed.stderr
        assert "the processes cannot share the shards" in probed.stderr
        assert "the service cannot run on this cluster" in probed.stderr
        assert remaining(cluster, names) == set()


@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_topics(
    cluster: Cluster, names: Names, sent: signal.Signals, exit_code: int
) -> None:
    """The process gets it in the middle of its second transaction."""
    command = tool_signalled_at(sent, Step.SENT, 2, *COMMAND)
    process = ServiceProcess(command, variables(cluster, names))
    try:
        assert process.wait() == exit_code, process.tail()
        wait_until(lambda: not remaining(cluster, names), what="the end of the topics")
    finally:
        process.close()


@pytest.mark.usefixtures("local_brokers")
def test_a_broker_that_hangs_does_not_hold_it(names: Names) -> None:
    """After ten seconds it says what it could not test, and five later which topics remain."""
    with LocalKafka() as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        command = tool_signalled_at(signal.SIGSTOP, Step.SENT, 1, *COMMAND)
        process = ServiceProcess(command, variables(cluster, names))
        try:
            wait_until(lambda: process.is_frozen, what="the first record")
            kafka.pause(1)
            began = time.monotonic()
            process.resume()
            assert process.wait() == 1, process.tail()
            # Ten seconds, five for the clean-up, and some for the end on a busy machine.
            assert time.monotonic() - began < 30
        finally:
            process.close()
            kafka.resume(1)
        said = "\n".join(str(line["text"]) for line in process.lines if "text" in line)
        assert "fencing: not finished within 10 s" in said
        assert f"{names.group()}.probe-" in said
        assert "may remain: no answer within 5 s: delete the named topics yourself" in said
        (result,) = [line for line in process.lines if "findings" in line]
        unknown = {it["name"] for it in result["findings"] if it["status"] == "unknown"}
        # Tests in between may end by their own time limits.
        assert unknown >= {"fencing", "DescribeProducers"}
        assert result["can_run"] is False


@pytest.mark.parametrize("seconds", [-600, 7200])
def test_a_wrong_clock_is_found(cluster: Cluster, names: Names, seconds: int) -> None:
    """It does not keep the service from running: `run` writes no timestamps of this machine."""
    command = [skewed_tool.MODULE, str(seconds), *COMMAND]
    process = ServiceProcess(command, variables(cluster, names))
    try:
        assert process.wait() == 0, process.tail()
        found = {it["name"]: it for line in process.lines for it in line.get("findings", ())}
    finally:
        process.close()
    assert {name for name, it in found.items() if it["status"] != "ok"} == {"clock"}
    assert found["clock"]["status"] == "limited"
    side = "ahead of" if seconds < 0 else "behind"
    said = re.search(rf"([\d.]+) s {side} the clock here", found["clock"]["detail"])
    assert said
    assert float(said[1]) == pytest.approx(abs(seconds), abs=5)


class Rights(NamedTuple):
    """The probe on a broker that authorizes, by several users."""

    kafka: SecuredKafka
    group: str

    def run(self, user: str, acls: list[Acl]) -> Finished:
        """Run the probe as a new user with these rights."""
        self.kafka.add_user(user, acls)
        return run_command(*COMMAND, GROUP_ID=self.group, **self.kafka.login(user))


@pytest.mark.timeout(180)
def test_the_documented_rights_suffice_and_each_is_needed(
    secured_kafka: SecuredKafka, names: Names
) -> None:
    """What is missing is named, by the command or by a finding."""
    settings = Settings.load(environment({"GROUP_ID": names.group()}))
    needed = needed_acls(settings, ["topics check"])
    acls = granted(acl for acl in needed if acl.only_with == PROBE)
    rights = Rights(secured_kafka, names.group())
    allowed = rights.run(f"{names.prefix}-all", acls)
    assert (allowed.exit_code, allowed.stderr) == (0, "")
    users = [(f"{names.prefix}-{number}", missing) for number, missing in enumerate(acls)]
    ended = run_at_once(
        *(partial(rights.run, user, [acl for acl in acls if acl != it]) for user, it in users)
    )
    for (_, missing), done in zip(users, ended, strict=True):
        found = done.stderr + done.stdout
        assert "missing ACL: grant" in found, (missing, found)
        assert missing.operation.title().replace("_", "") in found, (missing, found)
