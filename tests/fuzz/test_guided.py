"""The coverage-guided search: it runs clean, and it ends at a fault."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.faults import Fault

SECONDS = 20
CRASHED = 77
ROOT = Path(__file__).resolve().parents[2]


def search(seconds: int, folder: Path, *options: str) -> tuple[int, str]:
    """Search in a process of its own, which libFuzzer ends; return its exit code and output."""
    if importlib.util.find_spec("atheris") is None:  # never in CI, where a skip is a failure
        pytest.skip("atheris has no wheel for this machine, see requirements/dev.in")
    command = [sys.executable, "-m", "tests.fuzz.guided", "--seconds", str(seconds), *options]
    ended = subprocess.run(
        [*command, "--corpus", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=seconds + 90,
    )
    return ended.returncode, (ended.stdout + ended.stderr).decode(errors="replace")


@pytest.mark.timeout(180)
def test_a_guided_search_finds_nothing(tmp_path: Path) -> None:
    """Inputs that coverage leads to are decided as the oracle says."""
    code, output = search(SECONDS, tmp_path)
    assert code == 0, output[-4000:]
    assert "DONE" in output
    assert "NEW" in output, "coverage must have led somewhere"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [Fault.REST_UNREAD, Fault.ESCAPES])
def test_a_guided_search_ends_at_a_fault(fault: Fault, tmp_path: Path) -> None:
    """A wrong reason and an exception that escapes each end it, with the record in the report."""
    code, output = search(60, tmp_path, "--fault", fault.name)
    assert code == CRASHED, output[-4000:]
    assert "Disagreement" in output or "TypeError" in output
