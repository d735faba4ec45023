"""The command `topics`: creates or checks the topics."""

import argparse
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from consumer.cli.arguments import positive
from consumer.cli.output import EXIT_OK, silence_logs, write_message, write_result
from consumer.cli.signals import run_async
from consumer.cli.topics_probe import show_probe
from consumer.config import Settings
from consumer.config.parsing import MIN_REPARTITION_RETENTION_DAYS, retention_days
from consumer.errors import ClusterError
from consumer.kafka.broker_settings import (
    BrokerSettings,
    find_broker_problems,
    find_connection_limits,
)
from consumer.kafka.client import AioKafka
from consumer.kafka.port import ClusterAdmin
from consumer.kafka.topic_creation import CreatedTopics, NewTopicOptions, create_topics
from consumer.kafka.topic_settings import Profile
from consumer.kafka.topics import Topology, check_topics
from consumer.worker.open_files import needed_connections

T = TypeVar("T")


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    topics = commands.add_parser("topics", help="create or check the topics")
    actions = topics.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create missing topics")
    create.add_argument(
        "--input-partitions",
        type=positive,
        help="also create missing input topics with this number of partitions",
    )
    create.add_argument(
        "--profile",
        choices=[str(profile) for profile in Profile],
        help="full: all settings, and an error if the cluster refuses one; minimal: without "
        "settings that only save space or time (default: full, without what the cluster refuses)",
    )
    create.add_argument(
        "--repartition-retention-days",
        type=_retention_days,
        metavar="DAYS",
        help="limit the retention of a new repartition topic, at least "
        f"{MIN_REPARTITION_RETENTION_DAYS} days; only for a cluster that refuses DeleteRecords "
        "(default: REPARTITION_RETENTION_DAYS)",
    )
    create.set_defaults(command=_topics_create)
    check = actions.add_parser("check", help="check the configuration of all topics")
    check.add_argument(
        "--probe",
        action="store_true",
        help="instead, test on temporary topics what this cluster can do",
    )
    check.add_argument("--json", action="store_true", help="write JSON even on a terminal")
    check.set_defaults(command=_topics_check)


def _retention_days(text: str) -> int:
    try:
        return retention_days(str(positive(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _topics_create(settings: Settings, options: argparse.Namespace) -> int:
    if options.repartition_retention_days is not None:
        days = options.repartition_retention_days
        settings = msgspec.structs.replace(settings, repartition_retention_days=days)
    wanted = NewTopicOptions(
        input_partitions=options.input_partitions,
        profile=None if options.profile is None else Profile(options.profile),
    )

    async def create(admin: ClusterAdmin) -> None:
        created = await create_topics(admin, settings, wanted)
        _report_created(created)
        # Topics that existed before may have a wrong configuration.
        topology = await check_topics(admin, settings)
        _warn_of_risks(topology)
        brokers = await admin.broker_settings()
        _warn_if_incomplete(brokers)
        _warn(find_broker_problems(settings, brokers))
        _warn(find_connection_limits(brokers, needed_connections(topology.shards)))

    _with_admin(settings, create)
    return EXIT_OK


def _report_created(created: CreatedTopics) -> None:
    """Write which topics were created, and warn of each setting that was left out."""
    facts: dict[str, Any] = {"created": created.names}
    if created.left_out:
        facts |= {"left_out": created.left_out, "refusal": created.refusal}
    names = ", ".join(created.names) or "nothing, all topics exist"
    write_result(facts, f"created: {names}")
    if created.refusal:
        write_message(f"note: the cluster refused a setting: {created.refusal}")
    for one in created.left_out:
        write_message(f"note: {one.text}")


def _topics_check(settings: Settings, options: argparse.Namespace) -> int:
    if options.probe:
        return show_probe(settings, as_json=options.json)

    async def check(admin: ClusterAdmin) -> Topology:
        brokers = await admin.broker_settings()
        _warn_if_incomplete(brokers)
        problems = list(find_broker_problems(settings, brokers))
        try:
            topology = await check_topics(admin, settings)
        except ClusterError as error:
            raise ClusterError("\n".join([*problems, str(error)])) from error
        if problems:
            raise ClusterError("\n".join(problems))
        _warn(find_connection_limits(brokers, needed_connections(topology.shards)))
        return topology

    topology = _with_admin(settings, check)
    _warn_of_risks(topology)
    shown = msgspec.to_builtins(topology)
    for name in ("leader_epochs", "leaderless"):  # every restart of a broker changes them
        del shown[name]
    write_result(
        shown,
        f"all topics are correct: {topology.shards} shards, inputs {topology.inputs}",
        as_json=options.json,
    )
    return EXIT_OK


def _warn_of_risks(topology: Topology) -> None:
    """Warn of topics that may lose records. The service accepts them."""
    _warn(risk.text for risk in topology.risks)


def _warn_if_incomplete(brokers: BrokerSettings) -> None:
    if brokers.unanswered:
        _warn([f"the settings of the brokers are not fully checked: {brokers.unanswered}"])


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        write_message(f"warning: {text}")


def _with_admin(settings: Settings, action: Callable[[ClusterAdmin], Awaitable[T]]) -> T:
    silence_logs(settings)

    async def call() -> T:
        admin = AioKafka.of(settings).admin(f"{settings.group_id}-cli")
        try:
            await admin.start()
            return await action(admin)
        finally:
            await admin.close()

    return run_async(call())
