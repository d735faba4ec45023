"""The way in: parse, run one command, turn errors into one clear line and an exit code.

Exit codes: 0 done, 2 bad usage or configuration, 130 and 143 stopped by Ctrl-C and SIGTERM,
1 anything else that was foreseen.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from consumer import __version__
from consumer.cli.arguments import join_times
from consumer.cli.output import EXIT_OK, complain
from consumer.cli.signals import start_command
from consumer.config import Settings
from consumer.errors import CheckpointReadyError, ConfigError, Interrupted

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
SERVICE: Final = "run"
# The module of each command. Only that of the one that is asked for is imported: a pod that starts
# shall not wait for what the tools on history need.
FAMILIES: Final = {
    SERVICE: "run",
    "acls": "acls",
    "pipe": "pipe",
    "topics": "topics",
    "config": "config",
    "tail": "tail",
    "schema": "schema",
    "replay": "replay",
    "backfill": "backfill",
    "dead-letters": "dead_letters",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    words = join_times(sys.argv[1:] if arguments is None else arguments)
    options = _parser(words[0] if words else "").parse_args(words)
    try:
        if words[:1] != [SERVICE]:  # which ends with 0 until it has handlers of its own
            start_command()
        settings = Settings.load(os.environ)
        return int(options.command(settings, options))
    except ConfigError as error:
        complain(error)
        return EXIT_USAGE
    except Interrupted as error:
        complain(error)
        return error.exit_code
    except CheckpointReadyError as error:
        complain(error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        return _end_unheard(is_at_work=getattr(options, "execute", False))


def _end_unheard(*, is_at_work: bool) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not is_at_work:
        return EXIT_OK
    complain("nobody reads the output any more; the same command goes on with the rest")
    return EXIT_FAILED


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="checkpoint-ready",
        description="Says exactly once that a fine-tuned model checkpoint is ready to use.",
        epilog="Settings are CHECKPOINT_READY_* variables: see `checkpoint-ready config`.",
    )
    parser.add_argument("--version", action="version", version=f"checkpoint-ready {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    family = FAMILIES.get(command)
    # Whoever asks for help, or for what does not exist, is told of all.
    for name in dict.fromkeys(FAMILIES.values()) if family is None else (family,):
        import_module(f"consumer.cli.{name}").add_commands(commands)
    return parser
