"""Poison in bulk: mutants through the pipeline, every outcome compared with the oracle's.

A payload over its budget of processor time (tests/fuzz/budget.py) ends the run.

python -m tests.fuzz --payloads 1000000 --seed 1    the same seed, the same mutants
python -m tests.fuzz.guided --seconds 60            let coverage lead instead (atheris)
"""

import argparse
import sys

from tests.fuzz.budget import TooSlow
from tests.fuzz.bulk import run
from tests.fuzz.faults import Fault, place
from tests.fuzz.judge import Disagreement


def main() -> int:
    """Run what was asked for; the exit code is 1 after a disagreement or a slow payload."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--payloads", type=int, default=100_000, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    names = sorted(fault.name for fault in Fault)
    parser.add_argument("--fault", choices=names, help="plant one, and show how it is noticed")
    options = parser.parse_args()
    if options.fault:
        setattr(*place(Fault[options.fault]))
    try:
        outcome = run(options.payloads, options.seed)
    except (Disagreement, TooSlow) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{outcome.describe()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
