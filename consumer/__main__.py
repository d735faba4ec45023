"""``python -m consumer`` and ``checkpoint-ready``: the way in, for every command."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; an end asked for before anything has begun is an orderly one."""
    # Loading takes a moment. Without a handler Ctrl-C would print a traceback out of the middle of
    # an import then, and a container's first process would ignore SIGTERM.
    # Only the service is meant to be stopped; of every other command something is left undone.
    is_service = sys.argv[1:2] == ["run"]

    def end(number: int, _frame: FrameType | None) -> None:
        os._exit(0 if is_service else 128 + number)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as for a shell's background job
        signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    from consumer.cli import main as run_command  # noqa: PLC0415 - after the handler, see above

    try:
        return run_command()
    finally:
        # The command has ended: a late signal must change neither its exit code nor, by a traceback
        # of the interpreter's end, what it has said.
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
