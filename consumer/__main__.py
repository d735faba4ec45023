"""``python -m consumer`` and ``checkpoint-ready``: the way in, for every command."""

import signal
import sys


def main() -> int:
    """Run the command line; an end asked for before anything has begun is an orderly one."""
    # Loading takes a moment, and without a handler a container's first process ignores SIGTERM.
    # Only the service is meant to be stopped; of every other command something is left undone.
    is_service = sys.argv[1:2] == ["run"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if is_service else 143))
    from consumer.cli import main as run_command  # noqa: PLC0415 - after the handler, see above

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
