"""``python -m consumer`` and ``checkpoint-ready``: the way in, for every command."""

import signal
import sys


def main() -> int:
    """Run the command line; an end asked for before anything has begun is an orderly one."""
    # Loading takes a moment, and without a handler a container's first process ignores SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from consumer.cli import main as run_command  # noqa: PLC0415 - after the handler, see above

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
