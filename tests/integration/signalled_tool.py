"""A command that sends itself a signal at a chosen step, and continues if it can.

python -m tests.integration.signalled_tool SIGNAL STEP OCCURRENCE DELAY_MS COMMAND…
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from tests.integration import crashing_tool

if TYPE_CHECKING:
    from consumer.shard.events import Step

MODULE = "tests.integration.signalled_tool"


def tool_signalled_at(
    sent: signal.Signals, step: Step, occurrence: int, *command: str
) -> list[str]:
    """Return the command for a `ServiceProcess` that gets this signal at this step."""
    return [MODULE, sent.name, step.value, str(occurrence), "0", *command]


def main() -> int:
    """Run the command."""
    sent = signal.Signals[sys.argv.pop(1)]
    crashing_tool.die = lambda: os.kill(os.getpid(), sent)  # type: ignore[attr-defined] # ours
    return crashing_tool.main()


if __name__ == "__main__":
    sys.exit(main())
