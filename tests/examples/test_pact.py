"""The Pact example: the consumer writes the pact, and the service's `pipe` fulfils it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dev.toolchains import python_environment
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)  # the first run installs the packages of the example

EXAMPLE = ROOT / "examples/pact"
RUN_SECONDS = 100
# What a service would print that renames a member on which the subscriber relies.
RENAMED = """
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "consumer", "pipe"], capture_output=True, check=True)
sys.stdout.buffer.write(done.stdout.replace(b'"base_model"', b'"base"'))
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the example, because it writes the pact into its folder."""
    folder = tmp_path_factory.mktemp("example") / "pact"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("pacts", "__pycache__"))
    return folder


def run(example: Path, *arguments: str, pipe_command: tuple[str, ...]) -> tuple[int, str]:
    """Run pytest in the environment of the example; return its exit code and its output."""
    python = python_environment(EXAMPLE / "requirements.txt")
    variables = {
        "PIPE_COMMAND": shlex.join(pipe_command),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [python, "-m", "pytest", *arguments],
        cwd=example,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_service_fulfils_the_pact_of_the_subscriber(example: Path) -> None:
    """Both tests of the example pass: the one that writes the pact, and the one that verifies."""
    exit_code, output = run(example, pipe_command=(sys.executable, "-m", "consumer", "pipe"))
    assert exit_code == 0, output
    assert "2 passed" in output
    assert [path.name for path in (example / "pacts").iterdir()] == [
        "model-registry-checkpoint-ready.json"
    ]


def test_a_service_that_renames_a_member_does_not_fulfil_it(example: Path) -> None:
    """The verification fails, and its output names the member."""
    command = (sys.executable, "-c", RENAMED)
    assert run(example, "test_pact_consumer.py", pipe_command=command)[0] == 0
    exit_code, output = run(example, "test_pact_provider.py", pipe_command=command)
    assert exit_code == 1, output
    assert "base_model" in output
