"""The service with a host name that has several addresses.

python -m tests.integration.multihomed_service NAME ADDRESS…
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from consumer.cli import main as run_command

MODULE = "tests.integration.multihomed_service"

_getaddrinfo = socket.getaddrinfo


def multihomed(name: str, *addresses: str) -> list[str]:
    """Return the command for a `ServiceProcess`; the name has these addresses, in this order."""
    return [MODULE, name, *addresses]


def getaddrinfo(host: Any, *what: Any, **named: Any) -> Any:  # noqa: ANN401 - handed through
    """Return the addresses of the name one after the other."""
    name, *addresses = sys.argv[1:]
    hosts = addresses if host == name else [host]
    return [found for each in hosts for found in _getaddrinfo(each, *what, **named)]


if __name__ == "__main__":
    socket.getaddrinfo = getaddrinfo
    sys.exit(run_command(["run"]))
