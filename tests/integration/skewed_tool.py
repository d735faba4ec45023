"""A command on a machine whose clock is wrong.

python -m tests.integration.skewed_tool SKEW_SECONDS COMMAND…
"""

from __future__ import annotations

import sys
import time

from consumer.cli import main as run_command

MODULE = "tests.integration.skewed_tool"
_time_ns, _time = time.time_ns, time.time


def main() -> int:
    """Run the command with a changed time of day; a negative number is late."""
    seconds = int(sys.argv.pop(1))
    time.time_ns = lambda: _time_ns() + seconds * 1_000_000_000
    time.time = lambda: _time() + seconds
    return run_command()


if __name__ == "__main__":
    sys.exit(main())
