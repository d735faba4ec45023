"""The command line on a real broker: what each command writes, and its exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from consumer import __version__
from consumer.cli.acls import USES
from consumer.config import PREFIX
from consumer.contract.names import VERSIONS
from tests.builders import checkpoint
from tests.support.child_process import ROOT
from tests.support.command_line import (
    PROGRAM,
    environment,
    run_command,
    run_in_raw_terminal,
    run_in_terminal,
)
from tests.support.deployment import Deployment
from tests.support.records import NewRecord
from tests.support.service_process import ServiceProcess
from tests.support.topics import Names
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.reader import Record

PASSWORD = "correct horse battery staple"
EVENTS = 5
IDLE_TAILS = 5
# What sets the clipboard, clears the screen, does so by a C1 control, and turns text around.
OBEYED = ("\x1b]52", "\x1b[2J", "\x07", "\x7f", "\x9b2J", "\u202e", "\u2066", "\u200b")
HOSTILE = "\x1b]52;c;aGk=\x07" + "".join(OBEYED)


class Topics(NamedTuple):
    """The settings of a command that reads and writes topics of its own."""

    bootstrap_servers: str
    names: Names
    inputs: tuple[str, ...] = ("input",)

    def settings(self, **more: object) -> dict[str, Any]:
        """Return the variables, less their prefix."""
        return {
            "BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "GROUP_ID": self.names.group(),
            "INPUT_TOPICS": ",".join(map(self.names.topic, self.inputs)),
            "OUTPUT_TOPIC": self.names.topic("ready"),
            "DEAD_LETTER_TOPIC": self.names.topic("dead"),
            **more,
        }

    @property
    def changelog(self) -> str:
        """The changelog of the group."""
        return f"{self.names.group()}.changelog"

    @property
    def repartition(self) -> str:
        """The repartition topic of the group."""
        return f"{self.names.group()}.repartition"

    def by_role(self, role: str) -> str:
        """Return the topic that plays this role."""
        internal = {"changelog": self.changelog, "repartition": self.repartition}
        return internal.get(role) or self.names.topic(role)


@pytest.fixture
def topics(cluster: Cluster, names: Names) -> Topics:
    """Names under which nothing exists yet."""
    return Topics(cluster.bootstrap_servers, names)


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Topics:
    """Topics made by `topics create` for the whole module; a test leaves them as they were."""
    topics = Topics(cluster.bootstrap_servers, Names(f"made-{uuid.uuid4().hex[:8]}"))
    cluster.create_topics({topics.names.topic(): 2})
    assert run_command("topics", "create", **topics.settings()).exit_code == 0
    return topics


class Published(NamedTuple):
    """Ready events that the service published, and the settings to read them with."""

    settings: dict[str, Any]
    topic: str
    records: list[Record]


@pytest.fixture(scope="module")
def published(cluster: Cluster) -> Iterator[Published]:
    """Let the service itself publish a few ready events."""
    names = Names(f"tail-{uuid.uuid4().hex[:8]}")
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(3, service)
        sent = [checkpoint(id=f"ckpt-{number}") for number in range(EVENTS)]
        values = [json.dumps(fields).encode() for fields in sent]
        cluster.produce(deployment.input_topic, [NewRecord(value) for value in values])
        with cluster.subscriber(deployment.ready_topic) as subscriber:
            records = list(subscriber.wait_for(EVENTS))
        assert service.terminate() == 0
        settings: dict[str, Any] = {
            "BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "GROUP_ID": deployment.group,
            "OUTPUT_TOPIC": deployment.ready_topic,
        }
        yield Published(settings, deployment.ready_topic, records)


class TestTopicsCreate:
    """`topics create` makes what is missing, and nothing twice."""

    def test_it_makes_four_topics_with_their_settings(
        self, cluster: Cluster, topics: Topics
    ) -> None:
        """Partition counts follow the widest input, the settings are those of docs/protocol.md."""
        topics = topics._replace(inputs=("narrow", "wide"))
        cluster.create_topics({topics.names.topic("narrow"): 2})
        largest = 2_000_000
        cluster.create_topics({topics.names.topic("wide"): 5}, {"max.message.bytes": str(largest)})
        done = run_command("topics", "create", **topics.settings())
        assert done.exit_code == 0, done.stderr
        roles = ("changelog", "repartition", "ready", "dead")
        assert sorted(done.json["created"]) == sorted(map(topics.by_role, roles))
        assert {role: cluster.partitions(topics.by_role(role)) for role in roles} == dict.fromkeys(
            roles, 5
        )
        config = {role: cluster.config(topics.by_role(role)) for role in roles}
        assert config["changelog"]["cleanup.policy"] == "compact"
        assert config["changelog"]["segment.bytes"] == str(64 * 1024 * 1024)
        assert int(config["changelog"]["delete.retention.ms"] or 0) >= 24 * 3600 * 1000
        no_limit = str(2**63 - 1)  # the broker's default: unset
        assert config["changelog"]["max.compaction.lag.ms"] == no_limit
        assert config["repartition"]["retention.ms"] == "-1"
        assert config["repartition"]["retention.bytes"] == "-1"
        for role in ("repartition", "ready", "dead"):
            assert config[role]["cleanup.policy"] == "delete", role
            assert config[role]["message.timestamp.type"] == "LogAppendTime", role
        for role in ("repartition", "dead"):
            assert int(config[role]["max.message.bytes"] or 0) > largest, role
        for role in roles:
            assert config[role]["unclean.leader.election.enable"] == "false", role
        assert int(config["dead"]["retention.ms"] or 0) > int(config["ready"]["retention.ms"] or 0)

    def test_three_shards_at_least_and_nothing_twice(
        self, cluster: Cluster, topics: Topics
    ) -> None:
        """A narrow input still gives three shards; a second call finds everything there."""
        cluster.create_topics({topics.names.topic(): 1})
        assert len(run_command("topics", "create", **topics.settings()).json["created"]) == 4
        assert cluster.partitions(topics.changelog) == cluster.partitions(topics.repartition) == 3
        assert cluster.partitions(topics.names.topic("ready")) == 1
        again = run_command("topics", "create", **topics.settings())
        assert (again.exit_code, again.json) == (0, {"created": []})

    def test_the_input_is_made_only_when_asked(self, cluster: Cluster, topics: Topics) -> None:
        """A missing input is an error with its mend; with --input-partitions it is made, too."""
        refused = run_command("topics", "create", **topics.settings())
        assert refused.exit_code == 1
        assert f"input topic {topics.names.topic()} does not exist" in refused.complaint
        assert "--input-partitions" in refused.complaint
        assert not {name for name in cluster.topics() if name.startswith(topics.names.prefix)}
        done = run_command("topics", "create", "--input-partitions", "4", **topics.settings())
        assert topics.names.topic() in done.json["created"]
        assert cluster.partitions(topics.names.topic()) == 4
        assert cluster.partitions(topics.changelog) == 4

    def test_shards_is_honoured_and_then_fixed(self, cluster: Cluster, topics: Topics) -> None:
        """SHARDS decides at the creation; another number later is refused, and nothing changes."""
        cluster.create_topics({topics.names.topic(): 1})
        assert run_command("topics", "create", **topics.settings(SHARDS=2)).exit_code == 0
        assert cluster.partitions(topics.changelog) == cluster.partitions(topics.repartition) == 2
        for command in ("create", "check"):
            refused = run_command("topics", command, **topics.settings(SHARDS=4))
            assert refused.exit_code == 1
            assert f"topic {topics.changelog} has 2 partitions, but" in refused.complaint
            assert "CHECKPOINT_READY_SHARDS is 4" in refused.complaint
        assert cluster.partitions(topics.changelog) == cluster.partitions(topics.repartition) == 2

    def test_a_lost_twin_is_made_as_wide_as_the_other(
        self, cluster: Cluster, topics: Topics
    ) -> None:
        """Shards never change, also when the input has grown since and one topic was deleted."""
        cluster.create_topics({topics.names.topic(): 1})
        run_command("topics", "create", **topics.settings())
        cluster.delete_topics(topics.repartition)
        cluster.add_partitions(topics.names.topic(), 6)
        done = run_command("topics", "create", **topics.settings())
        assert done.json == {"created": [topics.repartition]}
        assert cluster.partitions(topics.repartition) == 3

    def test_three_brokers_get_three_replicas(
        self, three_node_cluster: Cluster, names: Names
    ) -> None:
        """Where the cluster has the brokers, losing one loses nothing."""
        topics = Topics(three_node_cluster.bootstrap_servers, names)
        three_node_cluster.create_topics({names.topic(): 1}, replication_factor=1)
        assert run_command("topics", "create", **topics.settings()).exit_code == 0
        found = three_node_cluster.admin.list_topics(timeout=10).topics
        for role in ("changelog", "repartition", "ready", "dead"):
            name = topics.by_role(role)
            assert {len(p.replicas) for p in found[name].partitions.values()} == {3}
            assert three_node_cluster.config(name)["min.insync.replicas"] == "2"


class TestTopicsCheck:
    """`topics check` refuses what would lose state or events, and says what to set."""

    def test_right_topics_pass(self, cluster: Cluster, made: Topics) -> None:
        """It prints what it found, as JSON."""
        done = run_command("topics", "check", **made.settings())
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.json["shards"] == cluster.partitions(made.changelog) == 3
        assert done.json["inputs"] == {made.names.topic(): 2}

    def test_each_wrong_policy_is_named(self, cluster: Cluster, made: Topics) -> None:
        """One line for each: the topic, the setting, what it is and what it must be."""
        wrong = [
            ("changelog", "cleanup_policy", "compact,delete", "compact"),
            ("repartition", "cleanup_policy", "compact", "delete"),
            ("repartition", "retention_ms", "604800000", "-1"),
            ("repartition", "retention_bytes", "1073741824", "-1"),
            ("repartition", "message_timestamp_type", "CreateTime", "LogAppendTime"),
            ("ready", "cleanup_policy", "compact", "delete"),
            ("ready", "message_timestamp_type", "CreateTime", "LogAppendTime"),
            ("dead", "cleanup_policy", "compact", "delete"),
            ("dead", "message_timestamp_type", "CreateTime", "LogAppendTime"),
        ]
        for role, setting, is_now, _ in wrong:
            cluster.set_config(made.by_role(role), **{setting: is_now})
        try:
            refused = run_command("topics", "check", **made.settings())
        finally:
            for role, setting, _, right in wrong:
                cluster.set_config(made.by_role(role), **{setting: right})
        assert refused.exit_code == 1
        expected = sorted(
            f"checkpoint-ready: topic {made.by_role(role)}: {setting.replace('_', '.')} "
            f"is {is_now}; set it to {right}"
            for role, setting, is_now, right in wrong
        )
        assert len(refused.complaints) == len(expected)
        for complaint, beginning in zip(sorted(refused.complaints), expected, strict=True):
            assert complaint.startswith(beginning)

    def test_unclean_leader_election_is_refused(self, cluster: Cluster, made: Topics) -> None:
        """A leader that lost committed ids, progress or events is a loss that nothing reports."""
        names = sorted(map(made.by_role, ("changelog", "repartition", "ready", "dead")))
        for name in names:
            cluster.set_config(name, unclean_leader_election_enable="true")
        try:
            refused = run_command("topics", "check", **made.settings())
        finally:
            for name in names:
                cluster.set_config(name, unclean_leader_election_enable="false")
        assert refused.exit_code == 1
        assert len(refused.complaints) == len(names)
        for name, complaint in zip(names, sorted(refused.complaints), strict=True):
            assert f"topic {name}: unclean.leader.election.enable is true" in complaint
            assert f"{name} --add-config unclean.leader.election.enable=false" in complaint

    @pytest.mark.parametrize("role", ["repartition", "dead"])
    def test_too_little_room_is_refused(self, cluster: Cluster, made: Topics, role: str) -> None:
        """Forwards and dead letters carry more headers than the input's largest record."""
        topic = made.by_role(role)
        before = cluster.config(topic)["max.message.bytes"]
        input_bytes = cluster.config(made.names.topic())["max.message.bytes"]
        cluster.set_config(topic, max_message_bytes=input_bytes)
        try:
            refused = run_command("topics", "check", **made.settings())
        finally:
            cluster.set_config(topic, max_message_bytes=before)
        assert refused.exit_code == 1
        assert f"topic {topic}: max.message.bytes is {input_bytes}" in refused.complaint
        assert f"set it above the input's {input_bytes}" in refused.complaint

    @pytest.mark.parametrize("role", ["changelog", "repartition"])
    def test_an_enlarged_internal_topic_is_refused(
        self, cluster: Cluster, topics: Topics, role: str
    ) -> None:
        """Both internal topics must have as many partitions as there are shards."""
        cluster.create_topics({topics.names.topic(): 1})
        run_command("topics", "create", **topics.settings())
        cluster.add_partitions(topics.by_role(role), 4)
        refused = run_command("topics", "check", **topics.settings())
        assert refused.exit_code == 1
        for name in (topics.changelog, topics.repartition):
            assert name in refused.complaint
        assert "must have the same number of partitions" in refused.complaint

    def test_missing_topics_are_listed_together(self, cluster: Cluster, topics: Topics) -> None:
        """One line for each topic, and none is made by the question."""
        refused = run_command("topics", "check", **topics.settings())
        assert refused.exit_code == 1
        assert len(refused.complaints) == 5, refused.complaints
        assert "topics create" in refused.complaints[1]
        assert not {name for name in cluster.topics() if name.startswith(topics.names.prefix)}

    def test_topics_with_the_brokers_defaults_are_refused(
        self, cluster: Cluster, topics: Topics
    ) -> None:
        """What a broker auto-creates has our names and the broker's policy: never ours."""
        ours = ("changelog", "repartition", "ready", "dead")
        cluster.create_topics({topics.by_role(role): 1 for role in ("input", *ours)})
        refused = run_command("topics", "check", **topics.settings())
        assert refused.exit_code == 1
        complaints = "\n".join(refused.complaints)
        for role in ours:
            assert f"topic {topics.by_role(role)}: " in complaints, role
        assert run_command("topics", "create", **topics.settings()).exit_code == 1


class TestConfig:
    """`config` shows the settings in force."""

    LOGIN: ClassVar[dict[str, Any]] = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "ada",
        "SASL_PASSWORD": PASSWORD,
    }

    def test_it_is_json_in_a_pipe(self) -> None:
        """Every variable by its full name; the password is masked."""
        done = run_command("config", **self.LOGIN, INPUT_TOPICS="a,b")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.json[f"{PREFIX}INPUT_TOPICS"] == ["a", "b"]
        assert done.json[f"{PREFIX}SHARDS"] is None
        assert done.json[f"{PREFIX}SASL_PASSWORD"] == "********"
        assert PASSWORD not in done.stdout

    def test_it_is_a_table_on_a_terminal(self) -> None:
        """Name and value on a line, the password masked there as well."""
        done = run_in_terminal("config", **self.LOGIN, INPUT_TOPICS="a,b")
        assert done.exit_code == 0
        rows = [line.split() for line in done.stdout.splitlines()]
        assert [f"{PREFIX}INPUT_TOPICS", "a,b"] in rows
        assert [f"{PREFIX}SASL_PASSWORD", "********"] in rows
        assert [f"{PREFIX}SHARDS"] in rows
        assert PASSWORD not in done.stdout

    def test_what_may_be_a_secret_of_a_token_login_is_masked(self) -> None:
        """Extensions, except those known as harmless, and the query of an address."""
        _, secret = "SASL_OAUTHBEARER_", "battery-staple"
        login: dict[str, Any] = {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_MECHANISM": "OAUTHBEARER",
            f"{_}TOKEN_ENDPOINT_URL": f"https://login.example/token?key={secret}",
            f"{_}CLIENT_CREDENTIALS_CLIENT_ID": "ada",
            f"{_}CLIENT_CREDENTIALS_CLIENT_SECRET": secret,
            f"{_}EXTENSIONS": f"logicalCluster=lkc-1,ticket={secret}",
        }
        done = run_command("config", **login)
        assert done.exit_code == 0
        assert done.json[f"{PREFIX}{_}EXTENSIONS"] == ["logicalCluster=lkc-1", "ticket=********"]
        address = done.json[f"{PREFIX}{_}TOKEN_ENDPOINT_URL"]
        assert address == "https://login.example/token?********"
        assert secret not in done.stdout
        table = run_in_terminal("config", **login)
        rows = [line.split() for line in table.stdout.splitlines()]
        assert [f"{PREFIX}{_}EXTENSIONS", "logicalCluster=lkc-1,ticket=********"] in rows
        assert secret not in table.stdout

    def test_an_unknown_variable_is_pointed_out(self) -> None:
        """The hint goes to standard error, so that the output stays JSON."""
        done = run_command("config", INPUT_TOPIC="a")
        assert done.exit_code == 0
        assert done.complaint == (
            f"checkpoint-ready: {PREFIX}INPUT_TOPIC is not known; "
            f"did you mean {PREFIX}INPUT_TOPICS?"
        )
        assert done.json[f"{PREFIX}INPUT_TOPICS"] == ["fine-tuning.checkpoints"]


class TestAcls:
    """`acls` lists what a user of the brokers needs: for people, programs and Kafka's tool."""

    def test_it_is_json_in_a_pipe_and_if_asked(self) -> None:
        """One line, with the names of these settings."""
        piped = run_command("acls", INPUT_TOPICS="a,b")
        asked = run_in_terminal("acls", "--json", INPUT_TOPICS="a,b")
        assert piped.json == asked.json
        assert {it["name"] for it in piped.json} > {"a", "b"}

    def test_it_is_a_table_on_a_terminal(self) -> None:
        """A resource on a line, with the option that alone needs it."""
        done = run_in_terminal("acls", "replay", GROUP_ID="mine")
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        assert "topic mine.changelog Read, DescribeConfigs" in lines
        prefixed = "transactional-id mine- (prefixed) Write (only with --execute)"
        assert prefixed in lines

    def test_it_can_be_commands(self) -> None:
        """With a principal it prints what to run."""
        done = run_command("acls", "run", "topics-create", "--principal", "User:me")
        lines = done.stdout.splitlines()
        assert (
            len(lines) == 7 + 1
        )  # a line for each resource, and one for what only an option needs
        assert all(line.startswith("kafka-acls.sh ") for line in lines)
        assert all(" --allow-principal User:me " in line for line in lines)

    def test_an_unknown_use_is_refused(self) -> None:
        """With the uses that there are."""
        done = run_command("acls", "dance")
        assert done.exit_code == 2
        known = ", ".join(use.replace(" ", "-") for use in USES)
        assert f"'dance' is not one of {known}" in done.stderr


class TestTail:
    """`tail` shows ready events."""

    def test_from_the_beginning_as_json_lines(self, published: Published) -> None:
        """As many events as asked for, each the very value that was published, then the end."""
        done = run_command("tail", "--from-beginning", "--max-events", "3", **published.settings)
        assert (done.exit_code, done.stderr) == (0, "")
        values = [record.value for record in published.records]
        lines = done.stdout.encode().splitlines()
        assert len(lines) == 3
        assert all(line in values for line in lines)

    def test_as_a_table_on_a_terminal(self, published: Published) -> None:
        """People see job, step, model and loss."""
        done = run_in_terminal(
            "tail", "--from-beginning", "--max-events", str(EVENTS), **published.settings
        )
        assert done.exit_code == 0
        assert f"{EVENTS} checkpoints ready" in done.stdout
        table = done.stdout[done.stdout.rindex(f"{EVENTS} checkpoints ready") :]
        for number in range(EVENTS):
            assert f"ckpt-{number}" in table
        assert "ftjob-abc123" in table
        assert "0.5670" in table

    def test_all_that_there_is(self, published: Published) -> None:
        """With --all it ends by itself, after the last event."""
        done = run_command("tail", "--all", **published.settings)
        assert (done.exit_code, done.stderr) == (0, "")
        shown = done.stdout.encode().splitlines()
        assert sorted(shown) == sorted(record.value or b"" for record in published.records)

    def test_ctrl_c_is_no_end_of_the_events(self, published: Published) -> None:
        """Whoever goes on with its output is told that there may be more: exit code 130."""
        command = ["consumer", "tail", "--from-beginning"]
        following = ServiceProcess(command, environment(published.settings))
        try:
            wait_until(lambda: len(following.lines) >= EVENTS, what="the events that there are")
            assert following.interrupt() == 128 + signal.SIGINT
            assert all("id" in line for line in following.lines), following.tail()
        finally:
            following.kill()

    def test_producers_do_not_command_the_terminal(self, cluster: Cluster, names: Names) -> None:
        """Clipboard, screen, C1 controls and text directions of an event are spelled out."""
        fields = {
            "id": f"one{HOSTILE}",
            "fine_tuning_job_id": f"job{HOSTILE}",
            "fine_tuned_model_checkpoint": f"model{HOSTILE}",
        }
        value = json.dumps(checkpoint(**fields), ensure_ascii=False).encode()
        event = run_command("pipe", stdin=value).json["event"]
        cluster.create_topics({names.topic("ready"): 1})
        published = json.dumps(event, ensure_ascii=False).encode()
        cluster.produce(names.topic("ready"), [NewRecord(published)])
        settings = {
            "BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "OUTPUT_TOPIC": names.topic("ready"),
        }
        table = run_in_raw_terminal(["tail", "--all"], settings)
        decision = run_in_raw_terminal(["pipe"], {}, stdin=value)
        for done in (table, decision):
            assert done.exit_code == 0
            assert not any(one in done.stdout for one in OBEYED)
        assert r"one\x1b]52" in table.stdout
        assert json.loads(decision.stdout)["event"]["id"] == fields["id"]

    def test_an_idle_tail_ends_by_sigterm_without_a_word(self, published: Published) -> None:
        """Exit code 143, and nothing on its output: not a line of asyncio's either."""
        command = ["consumer", "tail", "--from-beginning"]
        for _ in range(IDLE_TAILS):
            idle = ServiceProcess(command, environment(published.settings))
            try:
                wait_until(partial(_has_events, idle), what="the events that there are")
                shown = len(idle.lines)
                assert idle.terminate() == 128 + signal.SIGTERM
                assert idle.lines[shown:] == []
            finally:
                idle.kill()

    def test_it_begins_with_the_next_event(self, cluster: Cluster, published: Published) -> None:
        """Without --from-beginning nothing that was there before is shown."""
        template = json.loads(published.records[0].value or b"")
        numbers = count(1)
        with ThreadPoolExecutor(1) as pool:
            tail = pool.submit(run_command, "tail", "--max-events", "1", **published.settings)

            def publish_one_more() -> bool:
                event = {**template, "id": f"new-{next(numbers)}"}
                cluster.produce(published.topic, [NewRecord(json.dumps(event).encode())])
                return tail.done()

            # It does not say when it listens: publish until it has shown one.
            wait_until(publish_one_more, what="an event on the output of tail", poll_seconds=0.1)
        (event,) = tail.result().json_lines
        assert event["id"].startswith("new-")

    def test_binary_events_are_shown_whole(self, cluster: Cluster, names: Names) -> None:
        """In binary mode attributes are headers; the line is the structured event all the same."""
        record = {"value": json.dumps(checkpoint(id="one")), "topic": "in", "offset": 7}
        lines = json.dumps(record).encode()
        structured = run_command("pipe", "--records", stdin=lines).json["event"]
        cluster.create_topics({names.topic("ready"): 1})
        headers = [
            (f"ce_{name}", value.encode())
            for name, value in structured.items()
            if name not in {"data", "datacontenttype"}
        ]
        headers.append(("content-type", b"application/json"))
        value = json.dumps(structured["data"]).encode()
        foreign = NewRecord(b"not an event")
        cluster.produce(names.topic("ready"), [foreign, NewRecord(value, headers=headers)])
        done = run_command(
            "tail", "--from-beginning", "--max-events", "1",
            BOOTSTRAP_SERVERS=cluster.bootstrap_servers, OUTPUT_TOPIC=names.topic("ready"),
        )  # fmt: skip
        assert done.json == structured

    def test_a_missing_topic_is_named(self, cluster: Cluster, names: Names) -> None:
        """A wrong OUTPUT_TOPIC ends in one line, and the topic is not made by the question."""
        done = run_command(
            "tail", BOOTSTRAP_SERVERS=cluster.bootstrap_servers, OUTPUT_TOPIC=names.topic("ready")
        )
        assert done.exit_code == 1
        assert f"topic {names.topic('ready')} does not exist" in done.complaint
        assert names.topic("ready") not in cluster.topics()


class TestPipe:
    """`pipe` tries the contract without Kafka."""

    def test_a_decision_for_each_line(self) -> None:
        """A checkpoint is ready, its repeat a duplicate, other content and rubbish dead letters."""
        first = checkpoint(id="one")
        lines: list[Any] = [first, first, {**first, "created_at": 1}, {"object": "other"}]
        text = b"\n".join([*(json.dumps(line).encode() for line in lines), b"{"])
        done = run_command("pipe", stdin=text)
        assert done.exit_code == 0
        answers = done.json_lines
        assert [answer["decision"] for answer in answers] == [
            "ready", "duplicate", "dead_letter", "dead_letter", "dead_letter",
        ]  # fmt: skip
        assert [answer["reason"] for answer in answers[2:]] == [
            "conflicting_duplicate", "wrong_object_type", "malformed_json",
        ]  # fmt: skip
        assert answers[0]["event"]["id"] == "one"
        assert answers[0]["event"]["type"] == "fine_tuning.job.checkpoint.ready"

    def test_whole_records(self) -> None:
        """With --records a line says where the record stood, and the event's origin repeats it."""
        record = {
            "value": checkpoint(id="one"),
            "key": "k",
            "headers": {"traceparent": "00-1-2-01"},
            "topic": "in",
            "partition": 3,
            "offset": 17,
            "timestamp_ms": 1_700_000_000_000,
        }
        done = run_command("pipe", "--records", stdin=json.dumps(record).encode())
        assert done.exit_code == 0
        origin = {"topic": "in", "partition": 3, "offset": 17, "timestamp_ms": 1_700_000_000_000}
        assert done.json["event"]["data"]["origin"] == origin

    def test_a_line_that_is_no_record_is_reported(self) -> None:
        """The others are decided all the same; the exit code tells."""
        good = json.dumps({"value": checkpoint()}).encode()
        done = run_command("pipe", "--records", stdin=b"[]\n" + good)
        assert done.exit_code == 1
        assert "line 1 " in done.complaint
        assert [answer["decision"] for answer in done.json_lines] == ["ready"]


class TestSchemaExport:
    """`schema export` prints or writes the contract."""

    def test_a_published_event_is_valid(self, published: Published) -> None:
        """By the schema that is printed without an option, and a broken event is not."""
        done = run_command("schema", "export")
        assert (done.exit_code, done.stderr) == (0, "")
        schema = done.json
        validator = Draft202012Validator(schema)
        event = json.loads(published.records[0].value or b"")
        assert validator.is_valid(event)
        assert event["dataschema"] == schema["$id"]
        broken = {**event["data"], "checkpoint": checkpoint(step_number="88")}
        assert not validator.is_valid({**event, "data": broken})

    def test_the_address_of_the_schema_is_a_setting(self) -> None:
        """Also without Kafka."""
        done = run_command("pipe", stdin=json.dumps(checkpoint()).encode(), DATASCHEMA="urn:mine")
        assert done.json["event"]["dataschema"] == "urn:mine"

    def test_one_message_is_printed(self) -> None:
        """The schema of the input, and the AsyncAPI document with the topics of the settings."""
        done = run_command("schema", "export", "--message", "checkpoint")
        assert Draft202012Validator(done.json).is_valid(checkpoint())
        done = run_command("schema", "export", "--message", "asyncapi", OUTPUT_TOPIC="mine")
        assert done.json["channels"]["ready"]["address"] == "mine"

    def test_all_documents_are_written(self, tmp_path: Path) -> None:
        """A directory is created; one that cannot be written is named."""
        folder = tmp_path / "new"
        done = run_command("schema", "export", "--directory", str(folder))
        assert (done.exit_code, done.stdout) == (0, "")
        written = {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
        assert written == {"asyncapi.json", *(f"json/{name}.json" for name in VERSIONS)}
        (tmp_path / "file").touch()
        done = run_command("schema", "export", "--directory", str(tmp_path / "file"))
        assert done.exit_code == 2
        assert "--directory: cannot write" in done.complaint

    def test_only_one_of_the_options(self) -> None:
        """A message is printed, a directory gets all of them."""
        done = run_command("schema", "export", "--directory", "x", "--message", "checkpoint")
        assert done.exit_code == 2


class TestUsage:
    """The program as such."""

    def test_version(self) -> None:
        """--version names program and version."""
        done = run_command("--version")
        assert (done.exit_code, done.stdout) == (0, f"checkpoint-ready {__version__}\n")

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["frobnicate"],
            ["topics"],
            ["topics", "create", "--input-partitions", "0"],
            ["tail", "--max-events", "many"],
            ["run", "--unknown"],
        ],
        ids=" ".join,
    )
    def test_bad_usage_ends_with_two(self, arguments: list[str]) -> None:
        """The usage goes to standard error, nothing to standard output."""
        done = run_command(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.complaints[0].startswith("usage: checkpoint-ready")

    def test_the_command_and_the_module_are_the_same(self) -> None:
        """`checkpoint-ready` calls what `python -m consumer` calls, and both say the same."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        module, _, function = project["scripts"]["checkpoint-ready"].partition(":")
        script = f"import sys; from {module} import {function}; sys.exit({function}())"
        outputs = [
            subprocess.run(
                [*program, "config"],
                cwd=ROOT,
                env=environment({}),
                capture_output=True,
                check=True,
            ).stdout
            for program in ([sys.executable, "-c", script], PROGRAM)
        ]
        assert outputs[0] == outputs[1]
        assert outputs[0]


def _has_events(process: ServiceProcess) -> bool:
    return len(process.lines) >= EVENTS
