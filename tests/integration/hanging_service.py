"""The service with a fault after which it lives and does no more, or little.

    python -m tests.integration.hanging_service HOW

The fault comes up when the first decision with any output has been made:

- task: what sends it waits for ever;
- failing: sending fails, in this task and in every one after it;
- loop: the event loop is blocked;
- lock: the event loop is blocked by a call that also keeps the interpreter's lock;
- slow: nothing is wrong but that every transaction takes half a second.
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

_commit = ShardLoop._commit  # noqa: SLF001 - the fault is planted before it


def hanging(how: str) -> list[str]:
    """Return the command for a `Service` with this fault."""
    return [MODULE, how]


async def hang(
    self: ShardLoop,
    *what: Any,  # noqa: ANN401 - handed through
    **named: Any,  # noqa: ANN401 - the same
) -> None:
    """Stand in for the commit of a decision."""
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
