"""The tools on history with a login: the documented rights suffice, and a missing one is named."""

from __future__ import annotations

import gzip
import uuid
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from consumer.cli.acls import needed_acls
from tests.support.command_line import run_at_once
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids
from tests.support.secured_kafka import Acl, SecuredKafka, granted
from tests.support.topics import Names
from tests.support.verdicts import wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.cli.acls import Acl as NeededAcl
    from tests.support.command_line import Finished

IDS = 20
OPERATOR = "operator"
AT_ONCE = 4
COMMANDS = {
    "replay": ("replay",),
    "backfill": ("backfill", "-"),
    "dead-letters": ("dead-letters", "redrive"),
}
TOOLS = tuple(COMMANDS)
# The right that is missing, those of the tool, and its options.
Case = tuple[Acl, list[Acl], tuple[str, ...]]


class Past(NamedTuple):
    """A group with a past on a broker that asks who comes."""

    kafka: SecuredKafka
    deployment: Deployment

    def run(self, *arguments: str, user: str = OPERATOR, stdin: bytes = b"") -> Finished:
        """Run a command as this user."""
        return self.deployment.run(*arguments, stdin=stdin, **self.kafka.login(user))


@pytest.fixture(scope="module")
def past(secured_kafka: SecuredKafka) -> Iterator[Past]:
    """Twenty ids that are published, two records that are poison, and the operator."""
    cluster, names = secured_kafka.cluster(), Names(f"rights-{uuid.uuid4().hex[:8]}")
    with Deployment(cluster, names, input_partitions=1) as deployment:
        records = [NewRecord(checkpoint(one)) for one in numbered_ids(IDS)]
        cluster.produce(deployment.input_topic, [*records, NewRecord(b"{"), NewRecord(b"[")])
        service = deployment.start()
        wait_until_handled(cluster, names)
        assert service.terminate() == 0
        secured_kafka.add_user(OPERATOR, granted(needed(deployment, *TOOLS)))
        yield Past(secured_kafka, deployment)


def test_the_documented_rights_suffice(past: Past) -> None:
    """Each tool plans and acts with them and no others; no right on the group is among them."""
    planners = granted(it for it in needed(past.deployment, *TOOLS) if not it.only_with)
    past.kafka.add_user("planner", planners)
    for command in (*COMMANDS.values(), ("dead-letters", "list"), ("replay", "list")):
        planned = past.run(*command, user="planner", stdin=checkpoint("new"))
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("use", TOOLS)
def test_each_right_is_needed_and_named(past: Past, use: str) -> None:
    """Taken away one by one: one line says which to grant, and nothing is left half done."""
    acls = needed(past.deployment, use)
    planning = granted(acl for acl in acls if not acl.only_with)
    acting = granted(acl for acl in acls if acl.only_with)
    cases: list[Case] = [(missing, planning, ()) for missing in planning]
    cases += [(missing, planning + acting, ("--execute",)) for missing in acting]
    # Some rights count only where the tools' own topics are there, and one where they are not.
    assert past.run("replay", "--name", f"before-{use}", "--execute").exit_code == 0
    made = {f"{past.deployment.group}.jobs", f"{past.deployment.ready_topic}.replay"}
    creating = [case for case in cases if case[0].operation == "CREATE"]
    ended = refuse_without(past, use, [case for case in cases if case not in creating])
    for case in creating:
        if there := made & past.deployment.cluster.topics():
            past.deployment.cluster.delete_topics(*there)
        ended += refuse_without(past, use, [case])
    wrong = [
        (missing, finished.exit_code, finished.stderr)
        for missing, finished in ended
        if finished.exit_code != 1 or not missing.is_named_in(finished.complaint)
    ]
    assert wrong == []
    assert len(ended) == len(planning) + len(acting)


def refuse_without(past: Past, use: str, cases: list[Case]) -> list[tuple[Acl, Finished]]:
    """Run the tool once for each right, as a user who has all the others."""
    calls = []
    for missing, others, options in cases:
        user = f"without-{uuid.uuid4().hex[:8]}"
        past.kafka.add_user(user, [acl for acl in others if acl != missing])
        named = ("--name", user) if use == "replay" else ()
        command = (*COMMANDS[use], *named, *options)
        # Another content one each time: what was sent before is not sent again.
        calls.append(partial(past.run, *command, user=user, stdin=checkpoint(user)))
    # All redrives of a group write under one transactional id, and all backfills: two at once would
    # fence one another.
    at_once = AT_ONCE if use == "replay" else 1
    ended = [
        finished
        for at in range(0, len(calls), at_once)
        for finished in run_at_once(*calls[at : at + at_once])
    ]
    return list(zip([missing for missing, _, _ in cases], ended, strict=True))


def needed(deployment: Deployment, *uses: str) -> list[NeededAcl]:
    """Return what these tools need on a deployment."""
    return needed_acls(deployment.configuration, uses)
