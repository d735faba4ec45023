"""Record batches of every kind, read by the service and by the Java client, and compared.

python -m tests.batches --batches 100000 --seed 1    the same seed, the same batches
"""

import argparse
import sys

from tests.batches.judge import summarize
from tests.batches.run import run


def main() -> None:
    """Run what was asked for; an AssertionError shows the batch that was read wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.batches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batches", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    options = parser.parse_args()
    sys.stdout.write(f"{summarize(run(options.batches, options.seed))}\n")


if __name__ == "__main__":
    main()
