"""The command `replay`: publishes past ready events again, and lists the replays of a group."""

import argparse
import shlex
import sys
from typing import Any

import msgspec

from consumer.cli.arguments import add_range, positive
from consumer.cli.output import EXIT_OK, silence_logs, write_line, write_result
from consumer.cli.replay_text import (
    facts_of_state,
    plan_text,
    result_text,
    state_text,
    states_table,
)
from consumer.cli.signals import run_async
from consumer.config import Settings
from consumer.errors import CheckpointReadyError, ConfigError, Interrupted
from consumer.jobs.progress import ProgressReport
from consumer.jobs.replay.job import Replay, find_replay, list_replays
from consumer.jobs.replay.plan import Plan
from consumer.jobs.replay.request import ReplayRequest, check_request
from consumer.jobs.replay.state import ReplayState
from consumer.jobs.retry import shutdown_on_signals
from consumer.kafka.clock import wall_clock_ms
from consumer.pipeline.printable import printable


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    replay = commands.add_parser(
        "replay",
        help="publish past ready events again, to another topic; without --execute only a plan",
        description="Publishes the ready events of a range of the input topics again: each id "
        "once, equal to the original except for the attribute replayid. Without --execute the "
        "command only shows a plan. If a replay is interrupted, the same command resumes it.",
    )
    add_range(replay)
    replay.add_argument("--job", help="only checkpoints of this fine-tuning job")
    replay.add_argument("--id", help="only the checkpoint of this id")
    replay.add_argument(
        "--model", metavar="GLOB", help="only models whose name matches this shell pattern"
    )
    replay.add_argument("--max-events", type=positive, help="maximum number of events")
    replay.add_argument("--rate", type=positive, help="maximum number of events per second")
    replay.add_argument(
        "--target", default="", help="topic to publish to (default: {OUTPUT_TOPIC}.replay)"
    )
    replay.add_argument(
        "--to-live", action="store_true", help="publish to the live ready topic instead"
    )
    replay.add_argument(
        "--name",
        default="",
        help="name of the replay, and value of the attribute replayid (default: a digest of the "
        "options)",
    )
    replay.add_argument("--execute", action="store_true", help="publish the events")
    replay.set_defaults(command=_replay)
    actions = replay.add_subparsers(metavar="list | show NAME")
    actions.add_parser("list", help="list the replays of this group").set_defaults(command=_list)
    show = actions.add_parser("show", help="show one replay")
    show.add_argument("shown", metavar="NAME")
    show.set_defaults(command=_show)


def _replay(settings: Settings, options: argparse.Namespace) -> int:
    request = check_request(
        settings,
        ReplayRequest(
            starts=options.starts,
            ends=options.ends,
            job=options.job,
            id=options.id,
            model=options.model,
            max_events=options.max_events,
            target=options.target,
            name=options.name,
            rate=options.rate,
            allow_truncated=options.allow_truncated,
        ),
        to_live=options.to_live,
    )
    request.range(wall_clock_ms())  # refuses a wrong range before the command connects
    silence_logs(settings)
    return run_async((_execute if options.execute else _plan)(settings, request))


async def _plan(settings: Settings, request: ReplayRequest) -> int:
    with shutdown_on_signals() as shutdown:
        found = await Replay(settings, request, shutdown, _progress(request)).plan()
    if isinstance(found, Plan):
        write_result({"plan": msgspec.to_builtins(found)}, plan_text(found))
    else:
        hint = "finished" if found.finished_at_ms is not None else "--execute resumes it"
        write_result({"replay": facts_of_state(found)}, f"{state_text(found)}\n{hint}")
    return EXIT_OK


async def _execute(settings: Settings, request: ReplayRequest) -> int:
    with shutdown_on_signals() as shutdown:
        replay = Replay(settings, request, shutdown, _progress(request))
        try:
            state = await replay.run()
        except Interrupted as interrupted:
            command = shlex.join(["checkpoint-ready", *sys.argv[1:]])
            raise Interrupted(f"{interrupted}: {command}", interrupted.signal_number) from None
    if not replay.commits:
        _write_finished_before(state, request)
        return EXIT_OK
    write_result({"replay": facts_of_state(state)}, result_text(state))
    if state.counts.too_large_for_target:
        raise CheckpointReadyError(
            f"{state.counts.too_large_for_target} events are too large for {state.target} and were "
            "left out: raise its max.message.bytes and replay them under another --name"
        )
    return EXIT_OK


def _progress(request: ReplayRequest) -> ProgressReport:
    return ProgressReport(request.name, "events", write_line)


def _write_finished_before(state: ReplayState, request: ReplayRequest) -> None:
    if request.is_relative and not request.is_named:
        raise CheckpointReadyError(
            f"replay {state.name} with these options has already finished; to replay again, "
            "give the new replay a --name"
        )
    facts = {"replay": facts_of_state(state), "already": True}
    write_result(facts, f"{result_text(state)}\nit had already finished; nothing was published now")


def _list(settings: Settings, _: argparse.Namespace) -> int:
    silence_logs(settings)
    states = run_async(list_replays(settings))
    if sys.stdout.isatty():
        print(printable(states_table(states)))
    else:
        for state in states:
            write_line(msgspec.json.encode(facts_of_state(state)))
    return EXIT_OK


def _show(settings: Settings, options: argparse.Namespace) -> int:
    silence_logs(settings)
    state = run_async(find_replay(settings, options.shown))
    if state is None:
        raise ConfigError(f"there is no replay {options.shown}; see `checkpoint-ready replay list`")
    write_result(facts_of_state(state), state_text(state))
    return EXIT_OK
