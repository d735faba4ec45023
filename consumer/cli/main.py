"""Parses the command line, runs one command, and turns errors into a line and an exit code.

Exit codes: 0 done, 2 wrong usage or configuration, 130 and 143 stopped by Ctrl-C and SIGTERM,
1 any other expected error.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from consumer import __version__
from consumer.cli.arguments import join_times
from consumer.cli.output import EXIT_OK, write_message
from consumer.cli.signals import start_command
from consumer.config import Settings
from consumer.errors import CheckpointReadyError, ConfigError, Interrupted

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
SERVICE: Final = "run"
OUTPUT_CLOSED: Final = "the output was closed; run the same command again to resume"
# The module of each command. Only the module of the given command is imported: the start of a pod
# must not wait for the imports of the jobs.
COMMANDS: Final = {
    SERVICE: "run",
    "acls": "acls",
    "pipe": "pipe",
    "poll": "poll",
    "topics": "topics",
    "config": "config",
    "tail": "tail",
    "subscribers": "subscribers",
    "schema": "schema",
    "replay": "replay",
    "backfill": "backfill",
    "ingest": "ingest",
    "dead-letters": "dead_letters",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    words = join_times(sys.argv[1:] if arguments is None else arguments)
    options = _parser(words[0] if words else "").parse_args(words)
    try:
        # `run` keeps the handlers of `__main__`, which end it with exit code 0, until the service
        # has set its own.
        if words[:1] != [SERVICE]:
            start_command()
        settings = Settings.load(os.environ)
        return int(options.command(settings, options))
    except ConfigError as error:
        write_message(error)
        return EXIT_USAGE
    except Interrupted as error:
        write_message(error)
        return error.exit_code
    except CheckpointReadyError as error:
        write_message(error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the program that reads the output has closed it, as `head` does
        return _output_closed(is_executing=getattr(options, "execute", False))


def _output_closed(*, is_executing: bool) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not is_executing:
        return EXIT_OK
    write_message(OUTPUT_CLOSED)
    return EXIT_FAILED


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="checkpoint-ready",
        description="Publishes exactly one event for each fine-tuned model checkpoint.",
        epilog="Settings are CHECKPOINT_READY_* variables: see `checkpoint-ready config`.",
    )
    parser.add_argument("--version", action="version", version=f"checkpoint-ready {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    module = COMMANDS.get(command)
    # The help text, and the error for an unknown command, list all commands. So they need every
    # module.
    for name in COMMANDS.values() if module is None else (module,):
        import_module(f"consumer.cli.{name}").add_commands(commands)
    return parser
