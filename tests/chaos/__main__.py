"""`make chaos MINUTES=30 SEED=7`: break a cluster of three, and check what became of the promise.

Exit code 0: nothing lost, nothing published twice, nothing left open. 1: a violation, or the run
itself failed; then all logs and the brokers' data are kept, and the last lines say where.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import report
from tests.chaos.run import Order, run
from tests.chaos.sasl import LoginOrder, Mechanism

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main() -> int:
    """Run it as a program."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults")
    parser.add_argument("--seed", type=int, default=7, help="the same seed draws the same faults")
    parser.add_argument("--records-per-second", type=float, default=600.0)
    parser.add_argument(
        "--login",
        type=Mechanism,
        choices=list(Mechanism),
        default=Mechanism.PLAIN,
        help="how services log in: by a password, or by tokens, with faults of the token endpoint",
    )
    parser.add_argument(
        "--reauth-seconds", type=float, default=30.0, help="connections.max.reauth.ms of brokers"
    )
    parser.add_argument("--token-seconds", type=float, default=40.0, help="the life of a token")
    parser.add_argument("--history", type=Path, help="the file of the history")
    parser.add_argument("--markdown", type=Path, help="a file for the report as Markdown")
    parser.add_argument("--keep", action="store_true", help="keep logs and data in any case")
    arguments = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-ready-chaos-"))
    order = Order(
        minutes=arguments.minutes,
        seed=arguments.seed,
        records_per_second=arguments.records_per_second,
        history=arguments.history or folder / "history.jsonl",
        folder=folder,
        login=LoginOrder(arguments.login, arguments.reauth_seconds, arguments.token_seconds),
    )
    is_good = False
    try:
        result = run(order, _say)
        is_good = not result.violations
        if arguments.markdown is not None:
            arguments.markdown.write_text(report.markdown(result), encoding="utf-8")
        _say(report.text(result))
    except KeyboardInterrupt:
        _say("interrupted; everything has been stopped")
        return EXIT_INTERRUPTED
    finally:
        if is_good and not arguments.keep:
            for part in ("kafka", "services"):
                shutil.rmtree(folder / part, ignore_errors=True)
        else:
            _say(f"service logs: {folder / 'services'}\nbroker logs and data: {folder / 'kafka'}")
        _say(f"history: {order.history}")
    return 0 if is_good else EXIT_FAILED


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the run; nothing interrupts the cleaning up, every step of which ends in bounded time."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
