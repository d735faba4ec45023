"""The service with a wrong clock.

    python -m tests.integration.skewed_service SKEW_SECONDS [JUMP_SECONDS AFTER_SECONDS]

The clock is ahead by SKEW_SECONDS, or late if the number is negative. With JUMP_SECONDS, the clock
jumps by this number of seconds after the process has run for AFTER_SECONDS.
"""

from __future__ import annotations

import os
import sys
import time

MODULE = "tests.integration.skewed_service"
_time_ns, _time, _monotonic = time.time_ns, time.time, time.monotonic


def skewed(skew_seconds: int, jump_seconds: int = 0, after_seconds: float = 0) -> list[str]:
    """Return the command for a `ServiceProcess` with this clock."""
    return [MODULE, str(skew_seconds), str(jump_seconds), str(after_seconds)]


def main() -> None:
    """Run the service with a changed time of day."""
    skew_seconds, jump_seconds, after_seconds = map(float, sys.argv[1:])
    began = _monotonic()

    def wrong_by() -> float:
        has_jumped = _monotonic() - began >= after_seconds
        return skew_seconds + (jump_seconds if has_jumped else 0)

    time.time_ns = lambda: _time_ns() + int(wrong_by() * 1_000_000_000)
    time.time = lambda: _time() + wrong_by()
    from consumer.config import Settings  # noqa: PLC0415 - with the wrong clock
    from consumer.service.app import run_service  # noqa: PLC0415 - the same

    run_service(Settings.load(os.environ), os.environ)


if __name__ == "__main__":
    main()
