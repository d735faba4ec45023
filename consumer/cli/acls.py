"""The command `acls`, and the only list of the ACLs that each use of the program needs.

The table in docs/operations/reference.md and the chart's KafkaUser follow this list. Tests grant
exactly these ACLs to a user and remove them one by one. Read, Write and Delete imply Describe.
"""

import argparse
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from consumer.cli.output import EXIT_OK, write_line, write_result
from consumer.config import Settings

TOPIC: Final = "topic"
GROUP: Final = "group"
TRANSACTIONAL_ID: Final = "transactional-id"
CLUSTER: Final = "cluster"
CLUSTER_NAME: Final = "kafka-cluster"  # Kafka's only name of a cluster resource
LITERAL: Final = "literal"
PREFIXED: Final = "prefixed"
EXECUTE: Final = "--execute"
INPUT_PARTITIONS: Final = "--input-partitions"
HOLD: Final = "--hold"
PROBE: Final = "--probe"
IMPLY_DESCRIBE: Final = ("Read", "Write", "Delete")


class Acl(NamedTuple):
    """Operations on one resource; if ``only_with`` names an option, only that option needs them."""

    resource: str
    name: str
    operations: tuple[str, ...]
    pattern: str = LITERAL
    only_with: str = ""


def acls_of_run(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that the service needs."""
    for topic in settings.input_topics:
        yield Acl(TOPIC, topic, ("Read", "DescribeConfigs"))
    # Read: the first start of a shard checks whether the group has published before.
    yield Acl(TOPIC, settings.output_topic, ("Read", "Write", "DescribeConfigs"))
    yield Acl(TOPIC, settings.dead_letter_topic, ("Write", "DescribeConfigs"))
    yield Acl(TOPIC, settings.changelog_topic, ("Read", "Write", "DescribeConfigs"))
    # Delete: the service deletes handled records.
    yield Acl(TOPIC, settings.repartition_topic, ("Read", "Write", "Delete", "DescribeConfigs"))
    yield Acl(GROUP, settings.group_id, ("Read",))
    yield _transactional_ids(settings)


def acls_of_topics_create(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs for ``topics create``, and also for ``run`` with ``CREATE_TOPICS``."""
    for topic in settings.input_topics:
        yield Acl(TOPIC, topic, ("Describe", "DescribeConfigs"))
        yield Acl(TOPIC, topic, ("Create",), only_with=INPUT_PARTITIONS)
    for topic in _our_topics(settings):
        yield Acl(TOPIC, topic, ("Create", "Describe", "DescribeConfigs"))


def acls_of_topics_check(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``topics check`` needs; with ``--probe`` it needs only those of PROBE."""
    yield from _acls_of_topic_check(settings)
    probe = f"{settings.group_id}.probe-"
    # Delete: the probe deletes records, and at its end its topics.
    operations = ("Create", "Read", "Write", "Delete", "DescribeConfigs")
    yield Acl(TOPIC, probe, operations, PREFIXED, only_with=PROBE)
    yield _transactional_ids(settings, only_with=PROBE)
    yield Acl(GROUP, settings.group_id, ("Read",), only_with=PROBE)


def acls_of_tail(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``tail`` needs; other subscribers usually need only Read."""
    yield Acl(TOPIC, settings.output_topic, ("Read", "DescribeConfigs"))


def acls_of_subscribers_check(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``subscribers check`` needs."""
    yield Acl(TOPIC, settings.output_topic, ("Read", "Write", "DescribeConfigs"))
    yield _transactional_ids(settings)
    yield from _acls_of_listing_groups(only_with=HOLD)


def acls_of_subscribers_list(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``subscribers list`` needs."""
    yield Acl(TOPIC, settings.output_topic, ("Read", "DescribeConfigs"))
    yield from _acls_of_listing_groups()


def acls_of_replay(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``replay`` needs if it publishes to its default target."""
    yield from _acls_of_topic_check(settings, settings.changelog_topic, *settings.input_topics)
    yield from _acls_of_journal(settings)
    target = f"{settings.output_topic}.replay"
    yield Acl(TOPIC, target, ("Describe", "DescribeConfigs"))
    yield Acl(TOPIC, target, ("Write", "Create"), only_with=EXECUTE)


def acls_of_backfill(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``backfill`` needs."""
    yield from _acls_of_topic_check(settings, settings.changelog_topic)
    yield from _acls_of_writing_inputs(settings)
    yield from _acls_of_journal(settings)


def acls_of_dead_letters(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``dead-letters list``, ``show`` and ``redrive`` need."""
    yield from _acls_of_topic_check(settings, settings.dead_letter_topic)
    yield from _acls_of_writing_inputs(settings)
    yield from _acls_of_journal(settings)


def acls_of_ingest(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``ingest`` needs; a process writes to one of the input topics."""
    for topic in settings.input_topics:
        yield Acl(TOPIC, topic, ("Write", "DescribeConfigs"))


def acls_of_poll(settings: Settings) -> Iterator[Acl]:
    """Yield the ACLs that ``poll`` needs if it writes to its default topic."""
    yield Acl(TOPIC, settings.input_topics[0], ("Write", "DescribeConfigs"))


USES: Final[dict[str, Callable[[Settings], Iterator[Acl]]]] = {
    "run": acls_of_run,
    "topics create": acls_of_topics_create,
    "topics check": acls_of_topics_check,
    "tail": acls_of_tail,
    "subscribers check": acls_of_subscribers_check,
    "subscribers list": acls_of_subscribers_list,
    "replay": acls_of_replay,
    "backfill": acls_of_backfill,
    "dead-letters": acls_of_dead_letters,
    "ingest": acls_of_ingest,
    "poll": acls_of_poll,
}


def needed_acls(settings: Settings, uses: Iterable[str]) -> list[Acl]:
    """Return the ACLs of all these uses, without duplicates."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for use in uses:
        for acl in USES[use](settings):
            operations = found.setdefault((acl.resource, acl.name, acl.pattern), {})
            for operation in acl.operations:
                # If one use needs the operation without an option, it is always needed.
                known = operations.get(operation, acl.only_with)
                operations[operation] = acl.only_with and known
    for operations in found.values():
        if any(operations.get(it) == "" for it in IMPLY_DESCRIBE):
            operations.pop("Describe", None)
    return [
        Acl(resource, name, chosen, pattern, option)
        for (resource, name, pattern), operations in found.items()
        for option in dict.fromkeys(operations.values())
        if (chosen := tuple(it for it, needed_by in operations.items() if needed_by == option))
    ]


def kafka_acls_commands(settings: Settings, acls: Iterable[Acl], principal: str) -> Iterator[str]:
    """Yield a ``kafka-acls.sh`` command for each resource."""
    for acl in acls:
        words = ["kafka-acls.sh", "--bootstrap-server", settings.bootstrap_servers, "--add"]
        words += ["--allow-principal", principal]
        for operation in acl.operations:
            words += ["--operation", operation]
        words.append(f"--{acl.resource}")
        if acl.resource != CLUSTER:
            words += [acl.name, "--resource-pattern-type", acl.pattern]
        yield shlex.join(words)


def _our_topics(settings: Settings) -> tuple[str, ...]:
    return (
        settings.output_topic,
        settings.dead_letter_topic,
        settings.changelog_topic,
        settings.repartition_topic,
    )


def _transactional_ids(settings: Settings, only_with: str = "") -> Acl:
    prefix = settings.transactional_id(0).removesuffix("0")
    return Acl(TRANSACTIONAL_ID, prefix, ("Write",), PREFIXED, only_with)


def _acls_of_listing_groups(only_with: str = "") -> Iterator[Acl]:
    # Without Describe on the cluster, brokers silently omit the groups that the user may not see.
    yield Acl(CLUSTER, CLUSTER_NAME, ("Describe",), only_with=only_with)
    yield Acl(GROUP, "*", ("Describe",), only_with=only_with)


def _acls_of_topic_check(settings: Settings, *read: str) -> Iterator[Acl]:
    """Yield the ACLs of the topic check, which every job makes first.

    The `read` topics get Read, which implies Describe.
    """
    for topic in (*settings.input_topics, *_our_topics(settings)):
        operations = ("Read",) if topic in read else ("Describe",)
        yield Acl(TOPIC, topic, (*operations, "DescribeConfigs"))


def _acls_of_writing_inputs(settings: Settings) -> Iterator[Acl]:
    for topic in settings.input_topics:
        yield Acl(TOPIC, topic, ("Write",), only_with=EXECUTE)


def _acls_of_journal(settings: Settings) -> Iterator[Acl]:
    yield Acl(TOPIC, settings.jobs_topic, ("Read", "DescribeConfigs"))
    yield Acl(TOPIC, settings.jobs_topic, ("Write", "Create"), only_with=EXECUTE)
    yield _transactional_ids(settings, only_with=EXECUTE)


ALL_USES = tuple(use.replace(" ", "-") for use in USES)


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    parser = commands.add_parser("acls", help="show the ACLs that a Kafka user needs")
    parser.add_argument(
        "uses",
        nargs="*",
        metavar="USE",
        type=_use,
        help=f"what the user runs: {', '.join(ALL_USES)} (default: run)",
    )
    parser.add_argument(
        "--principal",
        metavar="User:NAME",
        help="print the kafka-acls.sh commands that grant the ACLs to this user",
    )
    parser.add_argument("--json", action="store_true", help="write JSON even on a terminal")
    parser.set_defaults(command=_acls)


def _use(text: str) -> str:
    if text not in ALL_USES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(ALL_USES)}")
    return text


def _acls(settings: Settings, options: argparse.Namespace) -> int:
    asked = options.uses or ["run"]
    acls = needed_acls(settings, (use for use in USES if use.replace(" ", "-") in asked))
    if options.principal:
        for command in kafka_acls_commands(settings, acls, options.principal):
            write_line(command.encode())
        return EXIT_OK
    facts = [acl._asdict() for acl in acls]
    write_result(facts, "\n".join(_rows(acls)), as_json=options.json)
    return EXIT_OK


def _rows(acls: list[Acl]) -> list[str]:
    named = [
        f"{acl.resource} {acl.name}{'' if acl.pattern == LITERAL else f' ({acl.pattern})'}"
        for acl in acls
    ]
    width = max(map(len, named))
    return [
        f"{name:<{width}}  {', '.join(acl.operations)}"
        + (f"  (only with {acl.only_with})" if acl.only_with else "")
        for name, acl in zip(named, acls, strict=True)
    ]
