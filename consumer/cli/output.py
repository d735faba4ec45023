"""Output of commands: text on a terminal, JSON lines elsewhere.

All output to a terminal goes through `printable`, because producers wrote parts of it.
"""

import sys
from typing import Any, Final

import msgspec

from consumer.config import Settings
from consumer.pipeline.printable import printable, printable_json
from consumer.service.logs import configure_logs

EXIT_OK: Final = 0


def silence_logs(settings: Settings) -> None:
    """Keep log lines out of a command's output. The command itself reports an error in one line."""
    configure_logs(msgspec.structs.replace(settings, log_level="critical"))


def write_result(facts: Any, text: str, *, as_json: bool = False) -> None:  # noqa: ANN401 - any JSON value
    """Write the text on a terminal. Elsewhere, or if `as_json`, write one JSON line."""
    if sys.stdout.isatty() and not as_json:
        print(printable(text))
    else:
        write_line(msgspec.json.encode(facts))


def write_message(message: object) -> None:
    """Write a message to standard error. Each line begins with the program's name."""
    for line in printable(str(message)).splitlines():
        print(f"checkpoint-ready: {line}", file=sys.stderr)


def write_line(line: bytes) -> None:
    """Write one JSON line to standard output and flush it."""
    write_json(line + b"\n")


def write_json(text: bytes) -> None:
    """Write JSON to standard output and flush it."""
    write_bytes(printable_json(text) if sys.stdout.isatty() else text)


def write_bytes(content: bytes) -> None:
    """Write these exact bytes to standard output and flush them."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
