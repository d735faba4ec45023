"""The service with a wrong clock.

    python -m tests.integration.skewed_service SKEW_SECONDS JUMP_SECONDS AFTER_SECONDS COMMAND…

The clock is ahead by SKEW_SECONDS, or late if the number is negative. It jumps by JUMP_SECONDS
after the process has run for AFTER_SECONDS. The default COMMAND is `run`.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MODULE = "tests.integration.skewed_service"
_time_ns, _time, _monotonic = time.time_ns, time.time, time.monotonic


def skewed(
    skew_seconds: int,
    jump_seconds: int = 0,
    after_seconds: float = 0,
    *,
    command: Sequence[str] = (),
) -> list[str]:
    """Return the command for a `ServiceProcess` with this clock."""
    return [MODULE, str(skew_seconds), str(jump_seconds), str(after_seconds), *command]


def main() -> int:
    """Run the service, or another command, with a changed time of day."""
    skew_seconds, jump_seconds, after_seconds = map(float, sys.argv[1:4])
    began = _monotonic()

    def wrong_by() -> float:
        has_jumped = _monotonic() - began >= after_seconds
        return skew_seconds + (jump_seconds if has_jumped else 0)

    time.time_ns = lambda: _time_ns() + int(wrong_by() * 1_000_000_000)
    time.time = lambda: _time() + wrong_by()
    from consumer.cli import main as run_command  # noqa: PLC0415 - with the wrong clock

    return run_command(sys.argv[4:] or ["run"])


if __name__ == "__main__":
    sys.exit(main())
