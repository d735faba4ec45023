"""The commands that check and show."""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from consumer.cli.arguments import positive
from consumer.cli.output import EXIT_OK, complain, say, silence_logs, write, write_line
from consumer.cli.signals import run_async
from consumer.config import VARIABLES, Secret, Settings, unknown_variables
from consumer.engine.kafka import ClusterAdmin, Connection
from consumer.engine.topics import Topology, check_topics, create_topics
from consumer.pipeline.records import Limits, ShardSettings
from consumer.tools.pipe import pipe
from consumer.tools.schemas import export_schemas
from consumer.tools.tail import Reach, tail

T = TypeVar("T")

PIPE_LIMIT_BYTES: Final = 1024 * 1024


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the commands to the parser."""
    pipe_parser = commands.add_parser(
        "pipe", help="decide about JSON lines from standard input, without Kafka"
    )
    pipe_parser.add_argument(
        "--records",
        action="store_true",
        help="a line is a whole record: key, value, headers, topic, partition, offset",
    )
    pipe_parser.set_defaults(command=_pipe)

    topics = commands.add_parser("topics", help="create or check the topics")
    actions = topics.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create what is missing")
    create.add_argument(
        "--input-partitions", type=positive, help="also create missing input topics, this wide"
    )
    create.set_defaults(command=_topics_create)
    check = actions.add_parser("check", help="check that all topics are as they must be")
    check.set_defaults(command=_topics_check)

    config = commands.add_parser("config", help="show the settings in force, secrets hidden")
    config.set_defaults(command=_config)

    tail_parser = commands.add_parser("tail", help="show ready events as they appear")
    reach = tail_parser.add_mutually_exclusive_group()
    reach.add_argument(
        "--from-beginning", action="store_true", help="start with the oldest event, not the next"
    )
    reach.add_argument("--all", action="store_true", help="all events that there are, and no more")
    tail_parser.add_argument("--max-events", type=positive, help="end after this many")
    tail_parser.set_defaults(command=_tail)

    schema = commands.add_parser("schema", help="the wire contract as JSON Schema")
    schema_actions = schema.add_subparsers(required=True, metavar="ACTION")
    export = schema_actions.add_parser("export", help="print the schemas")
    export.set_defaults(command=_schema_export)


def _pipe(settings: Settings, options: argparse.Namespace) -> int:
    limits = Limits(PIPE_LIMIT_BYTES, PIPE_LIMIT_BYTES, PIPE_LIMIT_BYTES)
    return pipe(
        sys.stdin.buffer,
        write,
        settings=ShardSettings(
            shard=0,
            shards=1,
            group_id=settings.group_id,
            limits=limits,
            binary_mode=settings.cloudevents_mode == "binary",
        ),
        window_ms=settings.dedup_window_seconds * 1000,
        records=options.records,
    )


def _topics_create(settings: Settings, options: argparse.Namespace) -> int:
    async def create(admin: ClusterAdmin) -> None:
        created = await create_topics(admin, settings, options.input_partitions)
        say({"created": created}, f"created: {', '.join(created) or 'nothing, all are there'}")
        # What was there before may be wrong, and whoever creates topics should learn it now.
        _complain_about_risks(await check_topics(admin, settings))

    _with_admin(settings, create)
    return EXIT_OK


def _topics_check(settings: Settings, _: argparse.Namespace) -> int:
    topology = _with_admin(settings, lambda admin: check_topics(admin, settings))
    _complain_about_risks(topology)
    shown = msgspec.to_builtins(topology)
    del shown["leader_epochs"]  # they change with every restart of a broker
    say(
        shown,
        f"all topics are right: {topology.shards} shards, inputs {topology.inputs}",
    )
    return EXIT_OK


def _complain_about_risks(topology: Topology) -> None:
    """Warn of input topics that may lose records; the service takes them as they are."""
    for risk in topology.input_risks:
        complain(f"warning: {risk.text}")


def _with_admin(settings: Settings, action: Callable[[ClusterAdmin], Awaitable[T]]) -> T:
    silence_logs(settings)

    async def call() -> T:
        admin = ClusterAdmin(Connection.of(settings), f"{settings.group_id}-cli")
        try:
            await admin.start()
            return await action(admin)
        finally:
            await admin.close()

    return run_async(call())


def _config(settings: Settings, _: argparse.Namespace) -> int:
    values = {v.name: getattr(settings, v.field) for v in VARIABLES}
    shown = {
        name: value.mask if isinstance(value, Secret) else value for name, value in values.items()
    }
    width = max(map(len, shown))
    text = "\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in shown.items())
    say(shown, text)
    for line in unknown_variables(os.environ):
        complain(line)
    return EXIT_OK


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _tail(settings: Settings, options: argparse.Namespace) -> int:
    silence_logs(settings)
    run_async(
        tail(
            settings,
            write_line,
            reach=_reach(options),
            max_events=options.max_events,
            live_table=sys.stdout.isatty(),
        )
    )
    return EXIT_OK


def _reach(options: argparse.Namespace) -> Reach:
    if options.all:
        return Reach.PAST
    return Reach.PAST_AND_FUTURE if options.from_beginning else Reach.FUTURE


def _schema_export(_settings: Settings, _: argparse.Namespace) -> int:
    write_line(msgspec.json.format(msgspec.json.encode(export_schemas()), indent=2))
    return EXIT_OK
