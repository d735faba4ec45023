"""`make cluster-test`: the chart on a real control plane, through everything that operators do.

The last line of standard output is one JSON object with the figures. Exit code 0: every step did
what it should, nothing lost, nothing published twice. 1: not so; then all logs are kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dev.chart_fetching import ChartToolMissing
from dev.cluster_binaries import cluster_binaries
from dev.kafka_jars import LocalKafkaError
from tests.cluster.kubernetes_tools import Refused
from tests.cluster.run import StepFailed, run

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main() -> int:
    """Run it as a program."""
    parser = argparse.ArgumentParser(
        prog="make cluster-test", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--keep", action="store_true", help="keep all logs in any case")
    arguments = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-ready-cluster-"))
    is_good = False
    try:
        cluster_binaries()
        report = run(folder, _say)
        is_good = report.is_good
    except KeyboardInterrupt:
        _complain("interrupted; everything has been stopped")
        return EXIT_INTERRUPTED
    except (AssertionError, Refused, StepFailed, ChartToolMissing, LocalKafkaError) as error:
        _complain(f"the test of the cluster failed: {error}")
        return EXIT_FAILED
    finally:
        if is_good and not arguments.keep:
            shutil.rmtree(folder)
        else:
            _complain(f"logs: {folder}")
    _say(json.dumps(report.figures(), separators=(",", ":")))
    return 0 if is_good else EXIT_FAILED


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the run; nothing interrupts the cleaning up, every step of which ends in bounded time."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
