"""The test kit, installed as a team installs it: in an environment without the service."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dev.toolchains import python_environment
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_SECONDS = 100


class InstalledKit(NamedTuple):
    """The Python of an environment with the extras of the kit, and the folder with the kit."""

    python: Path
    folder: Path


@pytest.fixture(scope="session")
def installed_kit(tmp_path_factory: pytest.TempPathFactory) -> InstalledKit:
    """The installed kit. A build writes into its source folder, so it uses a copy of it."""
    python = python_environment(ROOT / "requirements/testkit.txt")
    source = tmp_path_factory.mktemp("source") / "testkit"
    shutil.copytree(ROOT / "testkit", source, ignore=shutil.ignore_patterns("*.egg-info", "build"))
    folder = tmp_path_factory.mktemp("installed")
    quiet = ("--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [
            *(python, "-m", "pip", "install", *quiet, "--no-index", "--no-deps"),
            *("--no-build-isolation", "--target", folder, source),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return InstalledKit(python, folder)
