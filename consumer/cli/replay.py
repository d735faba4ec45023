"""Commands that publish ready events of the past again, and tell which replays there were."""

import argparse
import shlex
import sys
from contextlib import ExitStack
from typing import Any, Self

import msgspec

from consumer.cli.arguments import add_range, positive
from consumer.cli.formatting import describe, facts_of_state, plan_text, state_text, states_table
from consumer.cli.output import EXIT_OK, say, silence_logs, write_line
from consumer.cli.signals import run_async
from consumer.config import Settings
from consumer.errors import CheckpointReadyError, ConfigError, Interrupted
from consumer.jobs.progress import Display, Goal, display
from consumer.jobs.replay.plan import Plan, Planner, find_replay, list_replays
from consumer.jobs.replay.request import ReplayRequest, check_request
from consumer.jobs.replay.run import ReplayRun
from consumer.jobs.replay.state import ReplayState
from consumer.jobs.retry import shutdown_on_signals
from consumer.kafka.clock import wall_clock_ms
from consumer.pipeline.printable import printable


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    replay = commands.add_parser(
        "replay",
        help="publish ready events of the past again, to another topic; plans unless --execute",
        description="Publishes the ready events of a resolved of the input's history again, each "
        "id once, equal to the original but for the attribute replayid. It says what it would do; "
        "with --execute it does. The same command goes on where it was interrupted.",
    )
    add_range(replay)
    replay.add_argument("--job", help="only checkpoints of this fine-tuning job")
    replay.add_argument("--id", help="only the checkpoint of this id")
    replay.add_argument("--model", metavar="GLOB", help="only of models whose name matches")
    replay.add_argument("--max-events", type=positive, help="end after this many events")
    replay.add_argument("--rate", type=positive, help="at most this many events a second")
    replay.add_argument(
        "--target", default="", help="topic to publish to; default: {OUTPUT_TOPIC}.replay"
    )
    replay.add_argument(
        "--to-live", action="store_true", help="publish to the live ready topic instead"
    )
    replay.add_argument(
        "--name",
        default="",
        help="name of the replay, which events carry as replayid; default: made from the options",
    )
    replay.add_argument("--execute", action="store_true", help="do it, instead of planning it")
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
    request.range(wall_clock_ms())  # to refuse a wrong one before anything is connected
    silence_logs(settings)
    return run_async((_execute if options.execute else _plan)(settings, request))


async def _plan(settings: Settings, request: ReplayRequest) -> int:
    with shutdown_on_signals() as stop:
        found = await Planner(settings, request, stop).plan()
    if isinstance(found, Plan):
        say({"plan": msgspec.to_builtins(found)}, plan_text(found))
    else:
        hint = "finished" if found.finished_at_ms is not None else "--execute goes on with the rest"
        say({"replay": facts_of_state(found)}, f"{state_text(found)}\n{hint}")
    return EXIT_OK


async def _execute(settings: Settings, request: ReplayRequest) -> int:
    with shutdown_on_signals() as stop, _Shown(request.name, request.max_events) as shown:
        try:
            state = await ReplayRun(settings, request, stop, shown.show).run()
        except Interrupted as interrupted:
            command = shlex.join(["checkpoint-ready", *sys.argv[1:]])
            raise Interrupted(f"{interrupted}: {command}", interrupted.signal_number) from None
    if not shown.has_moved:
        _say_finished_before(state, request)
        return EXIT_OK
    say({"replay": facts_of_state(state)}, describe(state))
    if state.counts.too_large_for_target:
        raise CheckpointReadyError(
            f"{state.counts.too_large_for_target} events do not fit {state.target} and were left "
            "out: raise its max.message.bytes and replay them under another --name"
        )
    return EXIT_OK


def _say_finished_before(state: ReplayState, request: ReplayRequest) -> None:
    if request.is_relative and not request.is_named:
        raise CheckpointReadyError(
            f"replay {state.name} with these options was finished before; "
            "give this one a --name of its own to replay again"
        )
    facts = {"replay": facts_of_state(state), "already": True}
    say(facts, f"{describe(state)}\nnothing was done now: it was finished before")


class _Shown:
    """The progress that is shown, from the first committed state on; a context manager."""

    def __init__(self, name: str, max_events: int | None) -> None:
        self.has_moved = False
        self._name = name
        self._max_events = max_events
        self._open = ExitStack()
        self._display: Display | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def show(self, state: ReplayState) -> None:
        """Show how far it is."""
        if self._display is None:
            goal = Goal(state.offsets, state.passed, self._max_events)
            bar = display(self._name, goal, unit="events", write=write_line)
            self._display = self._open.enter_context(bar)
        self.has_moved = True
        self._display.show(state.passed, state.counts.events)


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
    say(facts_of_state(state), state_text(state))
    return EXIT_OK
