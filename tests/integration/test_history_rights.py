"""The tools on history with a login: the documented rights suffice, and a missing one is named."""

from __future__ import annotations

import gzip
import uuid
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.cluster import Names
from tests.integration.events import checkpoint, numbered_ids, wait_until_handled
from tests.integration.new_record import NewRecord
from tests.integration.secured import Acl, SecuredKafka
from tests.integration.service import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.command_line import Finished

IDS = 20
OPERATOR = "operator"


class Past(NamedTuple):
    """A group with a past on a broker that asks who comes."""

    kafka: SecuredKafka
    deployment: Deployment

    def run(self, *arguments: str, user: str = OPERATOR, stdin: bytes = b"") -> Finished:
        """Run a command as this user."""
        return self.deployment.run(*arguments, stdin=stdin, **self.kafka.login(user))


@pytest.fixture(scope="module")
def past(
    local_brokers: None,  # noqa: ARG001 - for its effect
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Past]:
    """Twenty ids that are published, two records that are poison, and the operator."""
    kafka = SecuredKafka(tmp_path_factory.mktemp("certificates"))
    with kafka.kafka:
        cluster, names = kafka.cluster(), Names(f"rights-{uuid.uuid4().hex[:8]}")
        with Deployment(cluster, names, input_partitions=1) as deployment:
            records = [NewRecord(checkpoint(one)) for one in numbered_ids(IDS)]
            cluster.produce(deployment.input_topic, [*records, NewRecord(b"{"), NewRecord(b"[")])
            service = deployment.start()
            wait_until_handled(cluster, names)
            assert service.terminate() == 0
            kafka.add_user(OPERATOR, documented_acls(deployment))
            yield Past(kafka, deployment)


def documented_acls(deployment: Deployment) -> list[Acl]:
    """Return what docs/operations.md asks for: for planning, and for acting."""
    topics = (
        deployment.input_topic,
        deployment.ready_topic,
        deployment.dead_letter_topic,
        deployment.changelog_topic,
        deployment.repartition_topic,
    )
    made = (f"{deployment.group}.replays", f"{deployment.ready_topic}.replay")
    return [
        *(Acl("TOPIC", name, "DESCRIBE") for name in topics),
        *(Acl("TOPIC", name, "DESCRIBE_CONFIGS") for name in (*topics, *made)),
        *(Acl("TOPIC", name, "READ") for name in (*topics[:1], *topics[2:4], made[0])),
        *(Acl("TOPIC", name, "WRITE") for name in (deployment.input_topic, *made)),
        *(Acl("TOPIC", name, "CREATE") for name in made),
        Acl("TRANSACTIONAL_ID", f"{deployment.group}-", "WRITE", "PREFIXED"),
    ]


def test_the_documented_rights_suffice(past: Past) -> None:
    """Each tool plans and acts with them and no others; no right on the group is among them."""
    for command in (("replay",), ("dead-letters", "list"), ("dead-letters", "redrive")):
        planned = past.run(*command)
        assert planned.exit_code == 0, planned.stderr
    replayed = past.run("replay", "--execute")
    assert replayed.json_lines[-1]["replay"]["counts"]["events"] == IDS, replayed.stderr
    one = f"{past.deployment.input_topic}/0:{IDS}"
    redriven = past.run("dead-letters", "redrive", "--origin", one, "--execute")
    assert redriven.json_lines[-1]["redriven"] == 1, redriven.stderr
    file = gzip.compress(checkpoint("new"))
    assert past.run("backfill", "-", stdin=file).json_lines[-1]["new"] == 1
    sent = past.run("backfill", "-", "--execute", stdin=file)
    assert sent.json_lines[-1]["sent"] == 1, sent.stderr
    assert past.run("replay", "list").json["state"] == "finished"


@pytest.mark.parametrize(
    ("resource", "role", "operation", "command"),
    [
        ("TOPIC", "changelog_topic", "READ", "replay"),
        ("TOPIC", "input_topic", "READ", "replay"),
        ("TOPIC", "dead_letter_topic", "READ", "dead-letters redrive"),
        ("TOPIC", "input_topic", "WRITE", "dead-letters redrive"),
        ("TOPIC", "input_topic", "WRITE", "backfill -"),
        ("TRANSACTIONAL_ID", "group", "WRITE", "replay"),
    ],
)
def test_a_missing_right_is_named(
    past: Past, resource: str, role: str, operation: str, command: str
) -> None:
    """One line says which right to grant, and nothing is left half done."""
    name = getattr(past.deployment, role)
    acls = [
        acl
        for acl in documented_acls(past.deployment)
        if (acl.resource, acl.name.rstrip("-"), acl.operation) != (resource, name, operation)
    ]
    user = f"without-{uuid.uuid4().hex[:8]}"
    past.kafka.add_user(user, acls)
    content = checkpoint(user)  # another one each time: what was sent before is not sent again
    named = ["--name", user] if command == "replay" else []
    refused = past.run(*command.split(), *named, "--execute", user=user, stdin=content)
    assert refused.exit_code == 1, refused.stdout
    assert f"missing ACL: grant {operation.title()}" in refused.complaint
    assert name in refused.complaint
