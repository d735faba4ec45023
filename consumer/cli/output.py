"""What commands write: text for users on a terminal, JSON lines for programs elsewhere.

Whatever goes to a terminal passes `printable`: others wrote a part of it.
"""

import sys
from typing import Any, Final

import msgspec

from consumer.config import Settings
from consumer.pipeline.printable import printable, printable_json
from consumer.service.logs import configure_logs

EXIT_OK: Final = 0


def silence_logs(settings: Settings) -> None:
    """Keep log lines out of a command's output: what goes wrong, it says itself, on one line."""
    configure_logs(msgspec.structs.replace(settings, log_level="critical"))


def say(facts: Any, text: str, *, as_json: bool = False) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write the text on a terminal, elsewhere (or if asked) the facts as one JSON line."""
    if sys.stdout.isatty() and not as_json:
        print(printable(text))
    else:
        write_line(msgspec.json.encode(facts))


def complain(message: object) -> None:
    """Write to standard error what went wrong, each line under our name."""
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
