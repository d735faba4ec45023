"""``python -m consumer`` and ``checkpoint-ready``: the entry point of every command."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line, return the exit code. A signal during the imports exits cleanly."""
    # The imports take a moment. Without a handler, Ctrl-C would print the traceback of an import,
    # and a process that is the first of its container would ignore SIGTERM.
    # For the service, a signal is the normal end (exit code 0). Every other command has work left.
    is_service = sys.argv[1:2] == ["run"]

    def end(number: int, _frame: FrameType | None) -> None:
        os._exit(0 if is_service else 128 + number)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a background job ignores it
        signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    from consumer.cli import main as run_command  # noqa: PLC0415 - after the handler, see above

    try:
        return run_command()
    finally:
        # The command has ended. A late signal must not change its exit code, and must not add a
        # traceback of the interpreter's shutdown to its output.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
