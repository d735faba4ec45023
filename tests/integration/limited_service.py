"""The service with a limit of open files, as `ulimit -Sn SOFT; ulimit -Hn HARD` sets it.

python -m tests.integration.limited_service SOFT HARD [CONSTANT=SECONDS …]
"""

from __future__ import annotations

import resource
import sys

from consumer.cli import main as run_command
from tests.integration.tuned_service import change_constants, changes_of

MODULE = "tests.integration.limited_service"


def limited(soft: int, hard: int, **seconds: float) -> list[str]:
    """Return the command for a `ServiceProcess` under these limits, with constants as `tuned`."""
    return [MODULE, str(soft), str(hard), *changes_of(**seconds)]


def main() -> int:
    """Set the limits and run the service."""
    soft, hard = map(int, sys.argv[1:3])
    change_constants(sys.argv[3:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return run_command(["run"])


if __name__ == "__main__":
    sys.exit(main())
