"""The command `run`: runs the service."""

import argparse
import os
from typing import Any

from consumer.cli.output import EXIT_OK
from consumer.config import Settings
from consumer.service.app import run_service
from consumer.shard.context import AcceptedLosses


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    run = commands.add_parser("run", help="run the service")
    run.add_argument(
        "--accept-empty-state",
        action="store_true",
        help="start with an empty changelog even if this group has published before; the service "
        "then publishes everything again",
    )
    run.add_argument(
        "--accept-lost-forwards",
        action="store_true",
        help="start although the brokers deleted forwards before their shard read them; the log "
        "says how many at most (unread_input_lost)",
    )
    run.set_defaults(command=_run)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    accepted = AcceptedLosses(options.accept_empty_state, options.accept_lost_forwards)
    run_service(settings, os.environ, accepted=accepted)
    return EXIT_OK
