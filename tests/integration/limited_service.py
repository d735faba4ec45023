"""The service with a limit of open files, as `ulimit -Sn SOFT; ulimit -Hn HARD` sets it.

python -m tests.integration.limited_service SOFT HARD
"""

from __future__ import annotations

import resource
import sys

from consumer.cli import main as run_command

MODULE = "tests.integration.limited_service"


def limited(soft: int, hard: int) -> list[str]:
    """Return the command for a `ServiceProcess` under these limits."""
    return [MODULE, str(soft), str(hard)]


def main() -> int:
    """Set the limits and run the service."""
    soft, hard = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return run_command(["run"])


if __name__ == "__main__":
    sys.exit(main())
