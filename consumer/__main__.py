"""``python -m consumer`` and ``checkpoint-ready``: the entry point of every command."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line and return the exit code. A signal during imports ends it cleanly."""
    # The imports take a moment. Without a handler, Ctrl-C would print the traceback of an import,
    # and the first process of a container would ignore SIGTERM.
    # A stop is the normal end of the service only. Every other command leaves work undone.
    is_service = sys.argv[1:2] == ["run"]

    def end(number: int, _frame: FrameType | None) -> None:
        os._exit(0 if is_service else 128 + number)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a background job
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
