"""The service, which also logs each login: `connection_logged_in`, with `renewed`.

python -m tests.logins.counted_service           as it is
python -m tests.logins.counted_service --ending  each connection logs in once, as the library does
"""

from __future__ import annotations

import sys

import structlog

from consumer.cli import main as run_command
from consumer.kafka.client.private_connection import BrokerConnection

MODULE = "tests.logins.counted_service"
EVENT = "connection_logged_in"
ENDING = "--ending"
log = structlog.get_logger("tests.logins")


def count_logins() -> None:
    """Log each login that succeeds."""
    log_in = BrokerConnection._do_sasl_handshake  # noqa: SLF001 - the login of a connection

    async def counted(self: BrokerConnection) -> None:
        is_renewed = self._login is not None
        await log_in(self)
        log.info(EVENT, renewed=is_renewed)

    BrokerConnection._do_sasl_handshake = counted  # type: ignore[method-assign]  # noqa: SLF001 - the same


def end_logins() -> None:
    """Renew no login: the broker closes each connection at the end of its session."""
    BrokerConnection._log_in_after = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001 - the timer


if __name__ == "__main__":
    count_logins()
    if ENDING in sys.argv:
        end_logins()
    sys.exit(run_command(["run"]))
