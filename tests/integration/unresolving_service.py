"""The service with a name server that answers no question while a file exists.

python -m tests.integration.unresolving_service FILE
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

from consumer.cli import main as run_command

MODULE = "tests.integration.unresolving_service"
POLL_SECONDS = 0.05

_getaddrinfo = socket.getaddrinfo


def unresolving(hanging: Path) -> list[str]:
    """Return the command for a `ServiceProcess` with this name server."""
    return [MODULE, str(hanging)]


def asked_file(hanging: Path) -> Path:
    """Return the file that exists when the service has asked."""
    return hanging.with_suffix(".asked")


def getaddrinfo(*what: Any, **named: Any) -> Any:  # noqa: ANN401 - handed through
    """Answer when the file is gone."""
    hanging = Path(sys.argv[1])
    asked_file(hanging).touch()
    while hanging.exists():
        time.sleep(POLL_SECONDS)
    return _getaddrinfo(*what, **named)


if __name__ == "__main__":
    socket.getaddrinfo = getaddrinfo
    sys.exit(run_command(["run"]))
