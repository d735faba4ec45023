"""The command `run`: runs the service."""

import argparse
import os
from typing import Any

from consumer.cli.output import EXIT_OK
from consumer.config import Settings
from consumer.service.app import run_service


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    run = commands.add_parser("run", help="run the service")
    run.add_argument(
        "--accept-empty-state",
        action="store_true",
        help="start with an empty changelog even if this group has published before; the service "
        "then publishes everything again",
    )
    run.set_defaults(command=_run)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    run_service(settings, os.environ, accept_empty_state=options.accept_empty_state)
    return EXIT_OK
