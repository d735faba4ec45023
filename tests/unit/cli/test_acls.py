"""The list of ACLs: each resource once, and equal to the table in the document."""

from __future__ import annotations

from pathlib import Path

from consumer.cli.acls import USES, Acl, kafka_acls_commands, needed_acls
from consumer.config import Settings
from dev.acls_table import acls_table

REFERENCE = Path(__file__).parents[3] / "docs" / "operations" / "reference.md"
SETTINGS = Settings.load(
    {
        "CHECKPOINT_READY_GROUP_ID": "group",
        "CHECKPOINT_READY_INPUT_TOPICS": "one,two",
        "CHECKPOINT_READY_OUTPUT_TOPIC": "ready",
        "CHECKPOINT_READY_DEAD_LETTER_TOPIC": "dead",
    }
)


def test_the_document_has_the_table_of_the_code() -> None:
    """`python -m dev.acls_table docs/operations/reference.md` writes it after a change."""
    text = REFERENCE.read_text()
    assert acls_table().within(text) == text


def test_every_input_topic_is_named() -> None:
    """The ACLs name only the configured topics."""
    named = {acl.name for acl in needed_acls(SETTINGS, ["run"]) if acl.resource == "topic"}
    assert named == {"one", "two", "ready", "dead", "group.changelog", "group.repartition"}


def test_a_bridge_may_write_where_it_can_be_told_to() -> None:
    """`ingest` to each input topic; `poll` to the first one, its default."""
    rights = ("Write", "DescribeConfigs")
    assert needed_acls(SETTINGS, ["ingest"]) == [
        Acl("topic", "one", rights),
        Acl("topic", "two", rights),
    ]
    assert needed_acls(SETTINGS, ["poll"]) == [Acl("topic", "one", rights)]


def test_uses_together_ask_for_each_operation_once() -> None:
    """Several uses need each operation once; an operation that implies Describe replaces it."""
    acls = needed_acls(SETTINGS, USES)
    asked = [(acl.resource, acl.name, operation) for acl in acls for operation in acl.operations]
    assert len(asked) == len(set(asked))
    assert [acl for acl in acls if acl.name == "one"] == [
        Acl("topic", "one", ("Read", "DescribeConfigs", "Write")),  # the bridges always write
        Acl("topic", "one", ("Create",), only_with="--input-partitions"),
    ]
    assert [acl for acl in acls if acl.resource == "transactional-id"] == [
        Acl("transactional-id", "group-", ("Write",), "prefixed")
    ]


def test_the_commands_are_those_of_kafka_acls() -> None:
    """Each command grants one resource; names are quoted for the shell."""
    acls = [Acl("transactional-id", "group-", ("Write",), "prefixed")]
    (command,) = kafka_acls_commands(SETTINGS, acls, "User:CN=a b")
    assert command == (
        "kafka-acls.sh --bootstrap-server localhost:9092 --add --allow-principal 'User:CN=a b' "
        "--operation Write --transactional-id group- --resource-pattern-type prefixed"
    )
