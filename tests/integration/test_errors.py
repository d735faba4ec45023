"""What an operator sees when something is wrong: one clear line, an exit code, no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from consumer.cli.acls import needed_acls
from consumer.config import PREFIX, Settings
from tests.builders import checkpoint
from tests.certificates import Authority
from tests.support.command_line import Finished, run_at_once, run_command
from tests.support.deployment import Deployment
from tests.support.records import NewRecord
from tests.support.secured_kafka import MUTUAL, PASSWORD, SASL, TLS, Acl, SecuredKafka, granted
from tests.support.service_process import ServiceProcess
from tests.support.topics import Names
from tests.support.verdicts import wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.cluster import Cluster

PARTITIONS = 3
BOUND_SECONDS = 30.0
AT_ONCE = 4


class Chatter(socketserver.BaseRequestHandler):
    """Speaks, but not Kafka."""

    def handle(self) -> None:
        """Answer whatever is said as a web server would."""
        with contextlib.suppress(ConnectionError):
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.fixture
def web_server() -> Iterator[str]:
    """Listen with something that answers and is no Kafka; its address."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Chatter) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield address_of(server.socket)
        server.shutdown()
        thread.join()


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """Listen on a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    """Return host:port."""
    host, port = server.getsockname()
    return f"{host}:{port}"


def assert_refused(finished: Finished, *words: str, exit_code: int = 1) -> None:
    """Expect one line that says all this, the exit code, and an end in good time."""
    assert finished.exit_code == exit_code
    assert finished.complaint.startswith("checkpoint-ready: ")
    missing = [word for word in words if word not in finished.complaint]
    assert not missing, (missing, finished.complaint)
    assert finished.seconds < BOUND_SECONDS


class TestUnreachable:
    """No Kafka where BOOTSTRAP_SERVERS points."""

    def test_a_closed_port(self) -> None:
        """Each command names the address and the variable."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = address_of(server)
        commands: Sequence[Sequence[str]] = [("run",), ("topics", "create"), ("tail",)]
        for finished in run_at_once(
            *(partial(run_command, *command, BOOTSTRAP_SERVERS=closed) for command in commands)
        ):
            assert_refused(finished, closed, f"{PREFIX}BOOTSTRAP_SERVERS")

    def test_sigterm_while_the_broker_is_silent(self, silent_port: socket.socket) -> None:
        """An end asked for during the start is an orderly one, and does not wait for the broker."""
        settings = {
            f"{PREFIX}BOOTSTRAP_SERVERS": address_of(silent_port),
            f"{PREFIX}LOG_FORMAT": "json",
        }
        service = ServiceProcess(["consumer", "run"], {**os.environ, **settings})
        service.wait_for_log("starting")
        began = time.monotonic()
        assert service.terminate() == 0, service.tail()
        assert time.monotonic() - began < 10

    def test_a_port_that_is_no_kafka(self, web_server: str, silent_port: socket.socket) -> None:
        """Neither a babbling nor a silent server can hold the start up for long."""
        addresses = (web_server, address_of(silent_port))
        ended = run_at_once(
            *(partial(run_command, "run", BOOTSTRAP_SERVERS=address) for address in addresses)
        )
        for address, finished in zip(addresses, ended, strict=True):
            assert_refused(finished, address, f"{PREFIX}BOOTSTRAP_SERVERS")

    def test_an_unknown_host(self) -> None:
        """A name that does not resolve is such an address, too."""
        unknown = "no-such-host.invalid:9092"
        assert_refused(run_command("topics", "check", BOOTSTRAP_SERVERS=unknown), unknown)


class TestConfiguration:
    """What is wrong with the settings is said before anything is connected."""

    @pytest.mark.parametrize("command", [["run"], ["topics", "create"], ["tail"], ["config"]])
    def test_nothing_is_connected(self, silent_port: socket.socket, command: list[str]) -> None:
        """Every problem has its line, the exit code is 2, and the broker was left alone."""
        finished = run_command(
            *command,
            BOOTSTRAP_SERVERS=address_of(silent_port),
            SHARDS="many",
            SECURITY_PROTOCOL="SASL_SSL",
            SASL_PASSWORD=PASSWORD,
        )
        assert (finished.exit_code, finished.stdout) == (2, "")
        assert len(finished.complaints) == 2
        assert f"{PREFIX}SHARDS" in finished.complaints[0]
        assert f"{PREFIX}SECURITY_PROTOCOL" in finished.complaints[1]
        assert PASSWORD not in finished.stderr
        silent_port.setblocking(False)  # noqa: FBT003 - the socket's own signature
        with pytest.raises(BlockingIOError):
            silent_port.accept()

    def test_a_certificate_that_is_none(
        self, silent_port: socket.socket, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A file that holds no certificate is bad configuration."""
        file = tmp_path_factory.mktemp("tls") / "ca.pem"
        file.write_text("not a certificate")
        finished = run_command(
            "run",
            BOOTSTRAP_SERVERS=address_of(silent_port),
            SECURITY_PROTOCOL="SSL",
            SSL_CAFILE=file,
        )
        assert_refused(finished, f"{PREFIX}SSL_", exit_code=2)


class TestMissingTopics:
    """The service starts on its topics or not at all."""

    def test_without_the_input(self, cluster: Cluster, names: Names) -> None:
        """With CREATE_TOPICS all but the input would be made: that one is the user's."""
        refused = run_command(
            "run",
            BOOTSTRAP_SERVERS=cluster.bootstrap_servers,
            GROUP_ID=names.group(),
            INPUT_TOPICS=names.topic(),
            CREATE_TOPICS="true",
        )
        assert_refused(refused, f"input topic {names.topic()} does not exist", "INPUT_TOPICS")

    def test_without_ours(self, cluster: Cluster, names: Names) -> None:
        """One line for each topic that is missing, each with both ways to make it."""
        cluster.create_topics({names.topic(): 1})
        refused = run_command(
            "run",
            BOOTSTRAP_SERVERS=cluster.bootstrap_servers,
            GROUP_ID=names.group(),
            INPUT_TOPICS=names.topic(),
            OUTPUT_TOPIC=names.topic("ready"),
            DEAD_LETTER_TOPIC=names.topic("dead"),
        )
        assert refused.exit_code == 1
        assert len(refused.complaints) == 4
        for line in refused.complaints:
            assert "topics create" in line
            assert f"{PREFIX}CREATE_TOPICS" in line


class Secured:
    """The broker that asks who comes, with one deployment's topics on it."""

    def __init__(self, kafka: SecuredKafka, deployment: Deployment) -> None:
        """Describe both."""
        self.kafka = kafka
        self.deployment = deployment
        self.cluster = deployment.cluster

    def acls(self) -> list[Acl]:
        """Return what the service needs, and not one thing more."""
        return documented_acls(self.deployment)

    def run(self, user: str) -> Finished:
        """Run the service as this user until it ends by itself, with work of every kind to do."""
        produce_work(self.deployment)
        return run_command("run", **self.settings(**self.kafka.login(user)))

    def settings(self, **more: object) -> dict[str, Any]:
        """Return the variables of the deployment, for a command."""
        deployment = self.deployment
        return {
            "GROUP_ID": deployment.group,
            "INPUT_TOPICS": deployment.input_topic,
            "OUTPUT_TOPIC": deployment.ready_topic,
            "DEAD_LETTER_TOPIC": deployment.dead_letter_topic,
            "TRIM_INTERVAL_MS": 100,
            **more,
        }


def documented_acls(deployment: Deployment) -> list[Acl]:
    """Return the documented ACLs of a deployment's service, an operation at a time."""
    return granted(needed_acls(deployment.configuration, ["run"]))


# The same under other names, so that there is a test for each.
DOCUMENTED = granted(needed_acls(Settings.load({}), ["run"]))
DOCUMENTED_TO_CREATE = granted(needed_acls(Settings.load({}), ["topics create"]))
# Missing, they end nothing, or only a group's very first start: tests of their own.
LATE = {("repartition", "DELETE"), ("checkpoint-ready", "READ")}


def ends_the_process(acl: Acl) -> bool:
    """Whether the service cannot run without."""
    return acl.resource != "TOPIC" or (acl.name.rpartition(".")[2], acl.operation) not in LATE


def produce_work(deployment: Deployment) -> list[str]:
    """Produce checkpoints to all partitions, most far from home, and a dead letter each."""
    ids = [f"ckpt-{uuid.uuid4().hex}" for _ in range(4 * PARTITIONS)]
    records = [
        NewRecord(json.dumps(checkpoint(id=one)).encode(), partition=number % PARTITIONS)
        for number, one in enumerate(ids)
    ]
    records += [NewRecord(b"rubbish", partition=partition) for partition in range(PARTITIONS)]
    deployment.cluster.produce(deployment.input_topic, records)
    return ids


@pytest.fixture(scope="module")
def secured(secured_kafka: SecuredKafka) -> Iterator[Secured]:
    """Add topics and a user `service` who may do what is documented."""
    names = Names(f"acl-{uuid.uuid4().hex[:8]}")
    cluster = secured_kafka.cluster()
    with Deployment(cluster, names, input_partitions=PARTITIONS) as deployment:
        secured_kafka.add_user("service", documented_acls(deployment))
        secured_kafka.allow("CN=service", documented_acls(deployment))
        yield Secured(secured_kafka, deployment)


class TestCredentials:
    """Who may not come in is told so."""

    def test_a_wrong_password(self, secured: Secured) -> None:
        """The variables of the login are named, the password is not shown."""
        login = {**secured.kafka.login("service"), "SASL_PASSWORD": "wrong horse"}
        refused = run_command("run", **secured.settings(**login))
        assert_refused(refused, "refused the credentials", "SASL_USERNAME", "SASL_PASSWORD")
        assert "wrong horse" not in refused.stdout + refused.stderr

    def test_a_wrong_mechanism(self, secured: Secured) -> None:
        """The broker has SCRAM only."""
        login = {**secured.kafka.login("service"), "SASL_MECHANISM": "PLAIN"}
        refused = run_command("topics", "check", **secured.settings(**login))
        assert_refused(refused, "SASL_MECHANISM")

    def test_the_wrong_protocol(self, secured: Secured) -> None:
        """Without TLS to a TLS port, with TLS to another, without a login to one that wants it."""
        plain = {"SASL_MECHANISM": "", "SASL_USERNAME": "", "SASL_PASSWORD": ""}
        no_tls = {**secured.kafka.login("service", TLS), "SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
        no_tls["SSL_CAFILE"] = ""
        too_much_tls = {**secured.kafka.login("service"), "SECURITY_PROTOCOL": "SASL_SSL"}
        no_login = {**secured.kafka.login("service"), **plain, "SECURITY_PROTOCOL": "PLAINTEXT"}
        for login in (no_tls, too_much_tls, no_login):
            refused = run_command("topics", "check", **secured.settings(**login))
            assert_refused(refused, "SECURITY_PROTOCOL")

    def test_an_untrusted_certificate(self, secured: Secured) -> None:
        """The system's authorities did not sign the broker's certificate."""
        login = {**secured.kafka.login("service", TLS), "SSL_CAFILE": ""}
        refused = run_command("topics", "check", **secured.settings(**login))
        assert_refused(refused, "certificate", "SSL_CAFILE")

    def test_mutual_tls_without_a_certificate_of_its_authority(
        self, secured: Secured, tmp_path: Path
    ) -> None:
        """The broker wants one, and does not take that of a stranger."""
        ours = secured.kafka.login("service", MUTUAL)
        strangers = Authority(tmp_path, "stranger").certify("service")
        none = {**ours, "SSL_CERTFILE": "", "SSL_KEYFILE": ""}
        strange = {**ours, "SSL_CERTFILE": strangers.chain, "SSL_KEYFILE": strangers.key}
        for login in (none, strange):
            refused = run_command("topics", "check", **secured.settings(**login))
            assert_refused(refused, "refused our certificate", "SSL_CERTFILE")


class TestAcls:
    """The documented ACLs suffice, each is needed, and a missing one is named."""

    @pytest.mark.parametrize("listener", [SASL, TLS, MUTUAL])
    def test_the_main_job_with_the_documented_ones(self, secured: Secured, listener: str) -> None:
        """Over SCRAM, with TLS and without, and by a certificate.

        Published, buried, trimmed, committed, no complaint.
        """
        deployment = secured.deployment
        service = deployment.start(**secured.settings(**secured.kafka.login("service", listener)))
        ids = produce_work(deployment)
        with secured.cluster.subscriber(deployment.ready_topic) as subscriber:

            def are_all_published() -> bool:
                subscriber.read_available()
                keys = [json.loads(record.value or b"")["id"] for record in subscriber.records]
                return set(ids) <= set(keys)

            wait_until(are_all_published, 30, what="the ready events")
            seen = [json.loads(record.value or b"")["id"] for record in subscriber.records]
            assert len(seen) == len(set(seen))
        letters = secured.cluster.read(deployment.dead_letter_topic)
        assert {letter.value for letter in letters} == {b"rubbish"}
        wait_until_handled(secured.cluster, deployment.names)  # by the group's committed offsets
        assert service.terminate() == 0
        # The library warns while the broker's first group finds its coordinator.
        complaints = [line for line in service.lines if line.get("level") in {"warning", "error"}]
        assert {line["event"] for line in complaints} <= {"library_message"}, complaints
        # Read on the dead letters is optional: it is said once that they are not looked at.
        (incomplete,) = service.logged("hanging_check_incomplete")
        assert (incomplete["level"], incomplete["not_asked"]) == (
            "info",
            deployment.dead_letter_topic,
        )

    @pytest.mark.parametrize(
        "number",
        [number for number, acl in enumerate(DOCUMENTED) if ends_the_process(acl)],
        ids=lambda number: f"{DOCUMENTED[number].name}-{DOCUMENTED[number].operation}",
    )
    def test_each_one_is_needed_and_named(self, secured: Secured, number: int) -> None:
        """Without it the process ends with a line that names operation and resource."""
        acls = secured.acls()
        missing = acls.pop(number)
        user = f"without-{number}"
        secured.kafka.add_user(user, acls)
        refused = secured.run(user)
        assert_refused(refused)
        assert missing.is_named_in(refused.complaint), (missing, refused.complaint)

    def test_no_other_is_left_out(self) -> None:
        """The two that have tests of their own are the only ones without one above."""
        assert len([acl for acl in DOCUMENTED if not ends_the_process(acl)]) == len(LATE)

    def test_a_refused_trim_is_said_and_ends_nothing(self, secured: Secured) -> None:
        """Only disk space is at stake, so the service goes on, and says once what it lacks."""
        topic = secured.deployment.repartition_topic
        acls = [acl for acl in secured.acls() if (acl.name, acl.operation) != (topic, "DELETE")]
        secured.kafka.add_user("without-delete", acls)
        login = secured.kafka.login("without-delete")
        service = secured.deployment.start(**secured.settings(**login))
        produce_work(secured.deployment)
        refused = service.wait_for_log("trim_refused")
        assert f"missing ACL: grant Delete on topic {topic}" in refused["error"]
        assert not service.has_ended
        assert service.terminate() == 0

    @pytest.mark.parametrize(
        "command",
        [
            ("topics", "check"),
            ("tail", "--all"),
            ("subscribers", "list"),
            ("subscribers", "check", "--hold", "0.1"),
        ],
        ids=" ".join,
    )
    def test_looking_needs_what_is_documented(
        self, secured: Secured, command: tuple[str, ...]
    ) -> None:
        """It works with these, and each that is missing is named."""
        use = "tail" if command[0] == "tail" else " ".join(command[:2])
        acls = granted(
            acl
            for acl in needed_acls(secured.deployment.configuration, [use])
            if acl.only_with in {"", *command}
        )
        if command[0] == "subscribers":  # there is a group to describe
            secured.cluster.commit_offsets("some-group", {(secured.deployment.ready_topic, 0): 0})
        cases: list[Acl | None] = [None, *acls]
        runs = []
        for number, missing in enumerate(cases):
            user = f"{'-'.join(command)}-{number}"
            secured.kafka.add_user(user, [acl for acl in acls if acl != missing])
            login = secured.settings(**secured.kafka.login(user))
            runs.append(partial(secured.deployment.run, *command, **login))
        # Checks of a group end each other, because they share a transactional id.
        is_check = command[:2] == ("subscribers", "check")
        ended = [run() for run in runs] if is_check else run_at_once(*runs)
        for missing, done in zip(cases, ended, strict=True):
            if missing is None:
                assert done.exit_code == 0, done.stderr
            else:
                assert done.exit_code == 1
                named = "\n".join(done.complaints)
                assert missing.is_named_in(named), (missing, named)

    def test_a_check_without_a_hold_needs_no_right_on_groups(self, secured: Secured) -> None:
        """Only the hold looks at groups."""
        acls = needed_acls(secured.deployment.configuration, ["subscribers check"])
        secured.kafka.add_user("checker", granted(acl for acl in acls if not acl.only_with))
        login = secured.settings(**secured.kafka.login("checker"))
        done = secured.deployment.run("subscribers", "check", **login)
        assert (done.exit_code, done.stderr) == (0, "")

    def test_reading_the_ready_topic_is_needed_at_the_first_start(
        self, secured_kafka: SecuredKafka, names: Names
    ) -> None:
        """A group without state looks there whether it has published before."""
        with Deployment(secured_kafka.cluster(), names, input_partitions=1) as deployment:
            acls = set(documented_acls(deployment))
            acls.remove(Acl("TOPIC", deployment.ready_topic, "READ"))
            secured_kafka.add_user(names.prefix, acls)
            fresh = Secured(secured_kafka, deployment)
            # An empty topic needs no reading; here another group has published before.
            deployment.cluster.produce(deployment.ready_topic, [NewRecord(b"{}")])
            refused = run_command("run", **fresh.settings(**secured_kafka.login(names.prefix)))
        assert_refused(refused, "missing ACL", "Read", f"on topic {deployment.ready_topic}")

    @pytest.mark.timeout(300)
    def test_creating_topics_with_the_documented_ones(
        self, secured_kafka: SecuredKafka, names: Names
    ) -> None:
        """`topics create` makes all five with these, and each that is missing is named."""
        calls, missing = [], []
        for number in range(len(DOCUMENTED_TO_CREATE) + 1):
            settings: dict[str, Any] = {
                "GROUP_ID": names.group(f"group-{number}"),
                "INPUT_TOPICS": names.topic(f"input-{number}"),
                "OUTPUT_TOPIC": names.topic(f"ready-{number}"),
                "DEAD_LETTER_TOPIC": names.topic(f"dead-{number}"),
            }
            variables = {f"{PREFIX}{name}": value for name, value in settings.items()}
            acls = granted(needed_acls(Settings.load(variables), ["topics create"]))
            missing.append(acls.pop(number) if number < len(acls) else None)
            user = f"{names.prefix}-{number}"
            secured_kafka.add_user(user, acls)
            command = ("topics", "create", "--input-partitions", "3")
            calls.append(partial(run_command, *command, **settings, **secured_kafka.login(user)))
        *refused, done = [
            finished
            for at in range(0, len(calls), AT_ONCE)
            for finished in run_at_once(*calls[at : at + AT_ONCE])
        ]
        assert done.exit_code == 0, done.stderr
        assert len(done.json["created"]) == 5
        for acl, finished in zip(missing, refused, strict=False):
            assert_refused(finished)
            assert acl is not None
            assert acl.is_named_in(finished.complaint), (acl, finished.complaint)


class TestAutoCreation:
    """A broker that creates topics by itself must not give us state with the wrong policy."""

    def test_a_question_creates_nothing(self, secured_kafka: SecuredKafka, names: Names) -> None:
        """Missing topics are missed, not made by asking for them."""
        cluster = secured_kafka.cluster()
        cluster.create_topics({names.topic(): 1})
        for command in (("run",), ("topics", "check"), ("tail",)):
            refused = run_command(
                *command,
                BOOTSTRAP_SERVERS=cluster.bootstrap_servers,
                GROUP_ID=names.group(),
                INPUT_TOPICS=names.topic(),
                OUTPUT_TOPIC=names.topic("ready"),
                DEAD_LETTER_TOPIC=names.topic("dead"),
            )
            assert refused.exit_code == 1
            assert "does not exist" in refused.complaints[0]
        mine = {name for name in cluster.topics() if name.startswith(names.prefix)}
        assert mine == {names.topic()}

    def test_an_auto_created_changelog_is_refused(
        self, secured_kafka: SecuredKafka, names: Names
    ) -> None:
        """Somebody produced to our names first: the broker's policy would lose the state."""
        cluster = secured_kafka.cluster()
        with Deployment(cluster, names, input_partitions=1) as deployment:
            cluster.delete_topics(deployment.changelog_topic)
            # The client asks for a topic that is not there, and so the broker makes it.
            cluster.produce(deployment.changelog_topic, [NewRecord(b"x")])
            settings = Secured(secured_kafka, deployment).settings(
                BOOTSTRAP_SERVERS=cluster.bootstrap_servers
            )
            refused = run_command("run", **settings)
        assert refused.exit_code == 1
        assert f"topic {deployment.changelog_topic}: cleanup.policy is delete" in refused.stderr
        assert "set it to compact" in refused.stderr
