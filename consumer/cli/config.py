"""The command `config`: shows the effective settings with masked secrets."""

import argparse
import os
from typing import Any

from consumer.cli.output import EXIT_OK, write_message, write_result
from consumer.config import VARIABLES, Settings, unknown_variables


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    config = commands.add_parser("config", help="show the effective settings, with masked secrets")
    config.set_defaults(command=_config)


def _config(settings: Settings, _: argparse.Namespace) -> int:
    shown = {v.name: v.shown(getattr(settings, v.field)) for v in VARIABLES}
    width = max(map(len, shown))
    text = "\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in shown.items())
    write_result(shown, text)
    for line in unknown_variables(os.environ):
        write_message(line)
    return EXIT_OK


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
