"""The service with a fault after which the process still runs but makes little or no progress.

    python -m tests.integration.hanging_service HOW

The fault begins at the first decision with any output:

- task: the send never returns;
- failing: sending fails, in this task and in every one after it;
- loop: the event loop is blocked;
- lock: the event loop is blocked by a call that also keeps the interpreter's lock;
- slow: every transaction takes half a second; nothing else is wrong.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import time
from typing import Any

from consumer.cli import main as run_command
from consumer.errors import TaskFailed
from consumer.shard.loop import ShardLoop

MODULE = "tests.integration.hanging_service"
FOR_EVER_SECONDS = 3600
SLOW_SECONDS = 0.5

_commit = ShardLoop._commit  # noqa: SLF001 - the fault comes before the original method


def hanging(how: str) -> list[str]:
    """Return the command for a `ServiceProcess` with this fault."""
    return [MODULE, how]


async def hang(
    self: ShardLoop,
    *what: Any,  # noqa: ANN401 - handed through
    **named: Any,  # noqa: ANN401 - the same
) -> None:
    """Replace the write of a transaction."""
    how = sys.argv[1]
    if how == "task":
        await asyncio.Event().wait()
    elif how == "failing":
        raise TaskFailed("planted")
    elif how == "loop":
        time.sleep(FOR_EVER_SECONDS)  # noqa: ASYNC251 - this is the fault
    elif how == "lock":
        ctypes.PyDLL(None).sleep(FOR_EVER_SECONDS)
    elif how == "slow":
        await asyncio.sleep(SLOW_SECONDS)
    await _commit(self, *what, **named)


def main() -> int:
    """Run the service."""
    ShardLoop._commit = hang  # type: ignore[method-assign]  # noqa: SLF001
    return run_command(["run"])


if __name__ == "__main__":
    sys.exit(main())
