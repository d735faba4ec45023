"""`ingest` and `poll` with a login: the documented rights suffice, and a missing one is named."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest

from consumer.cli.acls import needed_acls
from consumer.config import Settings
from tests.support.deployment import Deployment
from tests.support.http_client import ask
from tests.support.ingest import launch_ingest, start_ingest
from tests.support.provider_server import KEY, ProviderServer
from tests.support.records import checkpoint
from tests.support.secured_kafka import Acl, SecuredKafka, granted
from tests.support.topics import Names
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.command_line import Finished

OPERATIONS = [acl.operation for acl in granted(needed_acls(Settings.load({}), ["ingest"]))]
CHECKPOINTS = 3
UNAVAILABLE = 503


class Secured:
    """The broker, with one input topic on it."""

    def __init__(self, kafka: SecuredKafka, deployment: Deployment) -> None:
        """Describe both."""
        self.kafka = kafka
        self.deployment = deployment

    @property
    def cluster(self) -> Cluster:
        """The cluster for a user with all permissions."""
        return self.deployment.cluster

    @property
    def topic(self) -> str:
        """The input topic."""
        return self.deployment.input_topic

    def acls(self, use: str) -> list[Acl]:
        """Return the listed rights of a use, and not one more."""
        return granted(needed_acls(self.deployment.configuration, [use]))

    def add_user(self, acls: list[Acl]) -> str:
        """Create a user with these rights; return its name."""
        user = f"bridge-{uuid.uuid4().hex[:8]}"
        self.kafka.add_user(user, acls)
        return user

    def read_keys(self) -> set[bytes | None]:
        """Return the keys of all records on the input topic."""
        return {record.key for record in self.cluster.read(self.topic)}


@pytest.fixture(scope="module")
def secured(secured_kafka: SecuredKafka) -> Iterator[Secured]:
    """Create the input topic."""
    names, cluster = Names(f"bridges-{uuid.uuid4().hex[:8]}"), secured_kafka.cluster()
    with Deployment(cluster, names, input_partitions=2, create_topics=False) as deployment:
        yield Secured(secured_kafka, deployment)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[str]:
    """Start a provider with one job; yield the path of the file that names it."""
    (tmp_path / "key").write_text(KEY)
    file = tmp_path / "accounts.toml"
    with ProviderServer() as provider:
        provider.add_job(f"job-{uuid.uuid4().hex}", checkpoints=CHECKPOINTS)
        file.write_text(
            '[[accounts]]\nname = "acme"\nkind = "openai"\nkey_file = "key"\n'
            f'base_url = "{provider.url}"\n'
        )
        yield str(file)


class TestIngest:
    """The receiver."""

    def test_it_delivers_with_exactly_the_listed_rights(
        self, secured: Secured, tmp_path: Path
    ) -> None:
        """A request is in the topic, and the log has no complaint."""
        user = secured.add_user(secured.acls("ingest"))
        ingest = start_ingest(secured.deployment, tmp_path, **secured.kafka.login(user))
        one = f"ftckpt_{user}"
        reply = ingest.post(checkpoint(one))
        assert (reply.status, reply.json) == (202, {"accepted": 1})
        assert one.encode() in secured.read_keys()
        assert ingest.process.terminate() == 0
        levels = {line.get("level") for line in ingest.process.lines}
        assert levels == {"info"}, ingest.process.tail()

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_it_names_a_missing_right_until_it_is_granted(
        self, secured: Secured, operation: str, tmp_path: Path
    ) -> None:
        """Log and probe name it; a sender only gets 503. The receiver needs no restart."""
        missing = Acl("TOPIC", secured.topic, operation)
        user = secured.add_user([acl for acl in secured.acls("ingest") if acl != missing])
        ingest = launch_ingest(secured.deployment, tmp_path, **secured.kafka.login(user))
        line = ingest.process.wait_for_log("kafka_unavailable")
        assert line["level"] == "error"
        assert missing.is_named_in(line["error"]), line
        ready = ask(ingest.probes, "/readyz")
        assert ready.status == UNAVAILABLE
        assert missing.is_named_in(ready.text.strip()), ready.text
        reply = ingest.post(checkpoint(f"ftckpt_{user}"))
        assert (reply.status, "retry-after" in reply.headers) == (UNAVAILABLE, True)
        assert secured.topic.encode() not in reply.body
        secured.kafka.allow(user, [missing])
        wait_until(ingest.is_ready, what="a ready receiver")
        assert ingest.post(checkpoint(f"ftckpt_{user}")).status == 202
        assert ingest.process.terminate() == 0

    def test_a_user_who_may_describe_but_not_write(self, secured: Secured, tmp_path: Path) -> None:
        """The broker refuses the producer already: Write is named, no right on the cluster."""
        user = secured.add_user(describing(secured))
        ingest = launch_ingest(secured.deployment, tmp_path, **secured.kafka.login(user))
        line = ingest.process.wait_for_log("kafka_unavailable")
        assert Acl("TOPIC", secured.topic, "WRITE").is_named_in(line["error"]), line
        assert ask(ingest.probes, "/readyz").status == UNAVAILABLE
        assert ingest.process.terminate() == 0

    def test_a_user_who_may_write_elsewhere(self, secured: Secured, tmp_path: Path) -> None:
        """Only the delivery of a request finds this: it gets 503, and the log names the right."""
        user = secured.add_user([*describing(secured), Acl("TOPIC", "elsewhere", "WRITE")])
        ingest = start_ingest(secured.deployment, tmp_path, **secured.kafka.login(user))
        assert ingest.post(checkpoint(f"ftckpt_{user}")).status == UNAVAILABLE
        line = ingest.process.wait_for_log("delivery_failed")
        assert Acl("TOPIC", secured.topic, "WRITE").is_named_in(line["error"]), line
        assert ingest.process.terminate() == 0


class TestPoll:
    """The poller."""

    def test_it_delivers_with_exactly_the_listed_rights(
        self, secured: Secured, accounts: str
    ) -> None:
        """Each checkpoint of the provider is in the topic."""
        before = secured.read_keys()
        finished = poll_once(secured, accounts, secured.acls("poll"))
        assert finished.exit_code == 0, finished.stdout + finished.stderr
        assert len(secured.read_keys() - before) == CHECKPOINTS

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_it_names_a_missing_right(
        self, secured: Secured, accounts: str, operation: str
    ) -> None:
        """One line on standard error, before any request to a provider."""
        missing = Acl("TOPIC", secured.topic, operation)
        acls = [acl for acl in secured.acls("poll") if acl != missing]
        finished = poll_once(secured, accounts, acls)
        assert (finished.exit_code, finished.stdout) == (1, "")
        assert missing.is_named_in(finished.complaint), finished.complaint

    @pytest.mark.parametrize("elsewhere", [False, True])
    def test_a_user_who_may_describe_but_not_write(
        self, secured: Secured, accounts: str, *, elsewhere: bool
    ) -> None:
        """The pass fails with a line that names Write."""
        more = [Acl("TOPIC", "elsewhere", "WRITE")] if elsewhere else []
        finished = poll_once(secured, accounts, [*describing(secured), *more])
        assert finished.exit_code == 1
        lines = [json.loads(line) for line in finished.stdout.splitlines()]
        (failed,) = [line for line in lines if line["event"] == "poll_failed"]
        assert Acl("TOPIC", secured.topic, "WRITE").is_named_in(failed["error"]), failed


def describing(secured: Secured) -> list[Acl]:
    """Return the rights to see the topic and its settings."""
    return [Acl("TOPIC", secured.topic, it) for it in ("DESCRIBE", "DESCRIBE_CONFIGS")]


def poll_once(secured: Secured, accounts: str, acls: list[Acl]) -> Finished:
    """Run `poll --once` as a user with these rights only."""
    login = secured.kafka.login(secured.add_user(acls))
    return secured.deployment.run("poll", "--once", "--config", accounts, **login)


def test_both_lists_name_the_same_operations() -> None:
    """The parameters above are the rights of both."""
    both = [granted(needed_acls(Settings.load({}), [use])) for use in ("ingest", "poll")]
    assert both[0] == both[1]
    assert OPERATIONS == ["WRITE", "DESCRIBE_CONFIGS"]
