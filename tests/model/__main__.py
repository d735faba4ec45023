"""Search from the command line: ``python -m tests.model [--fault NAME]``."""

import argparse
import sys
import time

from tests.model.plan import FAULTY, SOUND, Fault, Plan
from tests.model.search import Result, search


def main() -> int:
    """Search every sound plan, or the plan of one fault; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    names = sorted(fault.name for fault in Fault)
    parser.add_argument("--fault", choices=names, help="break one rule, and show how it is noticed")
    fault: str | None = parser.parse_args().fault
    if fault is not None:
        result = _search(Fault[fault].value, FAULTY[Fault[fault]]._replace(fault=Fault[fault]))
        return 0 if result.violation is not None else 1
    results = [_search(name, plan) for name, plan in SOUND.items()]
    sys.stdout.write(f"together: {sum(result.states for result in results)} states\n")
    return 1 if any(result.violation for result in results) else 0


def _search(name: str, plan: Plan) -> Result:
    began = time.monotonic()
    result = search(plan)
    seconds = time.monotonic() - began
    sys.stdout.write(f"{name} ({seconds:.1f} s): {result.describe()}\n")
    return result


if __name__ == "__main__":
    sys.exit(main())
