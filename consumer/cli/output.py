"""Output of commands: text on a terminal, JSON lines elsewhere.

All output to a terminal passes `printable`, because producers wrote parts of it.
"""

import sys
from typing import Any, Final

import msgspec

from consumer.config import Settings
from consumer.pipeline.printable import printable, printable_json
from consumer.service.logs import configure_logs

EXIT_OK: Final = 0


def silence_logs(settings: Settings) -> None:
    """Keep log lines out of a command's output; the command reports errors itself, in one line."""
    configure_logs(msgspec.structs.replace(settings, log_level="critical"))


def say(facts: Any, text: str, *, as_json: bool = False) -> None:  # noqa: ANN401 - any JSON value
    """Write the text on a terminal; elsewhere, or if `as_json`, the facts as one JSON line."""
    if sys.stdout.isatty() and not as_json:
        print(printable(text))
    else:
        write_line(msgspec.json.encode(facts))


def complain(message: object) -> None:
    """Write an error message to standard error, each line after the program's name."""
    for line in printable(str(message)).splitlines():
        print(f"checkpoint-ready: {line}", file=sys.stderr)


def write_line(line: bytes) -> None:
    """Write one line to standard output at once."""
    write(line + b"\n")


def write(text: bytes) -> None:
    """Write JSON to standard output at once."""
    write_bytes(printable_json(text) if sys.stdout.isatty() else text)


def write_bytes(content: bytes) -> None:
    """Write to standard output at once, byte for byte."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
