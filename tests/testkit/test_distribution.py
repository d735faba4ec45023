"""The kit is a distribution of its own, which needs nothing of the service."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import checkpoint_ready_testkit
import pytest

import consumer
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testkit.conftest import InstalledKit

SOURCE = ROOT / "testkit/src"
PACKAGE = SOURCE / "checkpoint_ready_testkit"
# The modules that need an extra, and the packages that it installs.
NEED_EXTRAS = {"strategies": "hypothesis", "plugin": "pytest", "ready_topic": "confluent_kafka"}
CORE = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in NEED_EXTRAS)
SECONDS = 60
# For Python without site-packages: only the standard library and the kit are on the path.
IMPORT_CORE = """
import importlib, json, sys
sys.path.append(sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
from checkpoint_ready_testkit import REASONS, dead_letter, ready_event, ready_record
records = [ready_record(ready_event()), *map(dead_letter, REASONS)]
roots = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([len(records), sorted(roots - sys.stdlib_module_names)]))
"""
LIST_INSTALLED = """
import importlib.metadata, json, sys
path = [*sys.argv[1:], *sys.path]
print(json.dumps([one.name for one in importlib.metadata.distributions(path=path)]))
"""


def _project(path: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return project


def test_the_kit_has_the_version_of_the_service() -> None:
    """A team sees by the version of the kit which service its events are of."""
    ours, kits = _project(ROOT / "pyproject.toml"), _project(ROOT / "testkit/pyproject.toml")
    versions = {ours["version"], kits["version"]}
    assert versions == {consumer.__version__}
    assert versions == {checkpoint_ready_testkit.__version__}


def test_the_kit_has_the_license_of_the_service() -> None:
    """A distribution must contain the text of its license."""
    assert (ROOT / "testkit/LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_kit_needs_no_package() -> None:
    """Only the extras name packages."""
    project = _project(ROOT / "testkit/pyproject.toml")
    assert project["dependencies"] == []
    assert project["optional-dependencies"].keys() == {"hypothesis", "kafka", "pytest"}


def test_the_builders_run_with_the_standard_library_alone() -> None:
    """Isolated, and with no installed package on the path, every such module is imported."""
    names = [f"checkpoint_ready_testkit.{module}" for module in CORE if module != "__init__"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_CORE, SOURCE, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    count, roots = json.loads(done.stdout)
    assert count == len(checkpoint_ready_testkit.REASONS) + 1
    assert set(roots) <= {"__main__", "checkpoint_ready_testkit"}


@pytest.mark.parametrize("module", [*CORE, *NEED_EXTRAS])
def test_a_module_imports_only_what_its_extra_installs(module: str) -> None:
    """And nothing of the service, also not inside a function."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    names = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    roots = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    allowed = {"checkpoint_ready_testkit"} | (
        {NEED_EXTRAS[module]} if module in NEED_EXTRAS else set()
    )
    assert roots <= allowed


@pytest.mark.timeout(300)  # the first run installs the packages of the kit
def test_the_environment_of_the_tests_has_only_the_kit(installed_kit: InstalledKit) -> None:
    """Otherwise the tests in it would not show that the kit works without the service."""
    printed = subprocess.run(
        [installed_kit.python, "-I", "-c", LIST_INSTALLED, installed_kit.folder],
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    ).stdout
    names = set(json.loads(printed))
    assert {"checkpoint-ready-testkit", "confluent-kafka", "hypothesis", "pytest"} <= names
    assert not names & {"checkpoint-ready", "msgspec", "aiokafka", "murmurhash2"}
    assert (installed_kit.folder / "checkpoint_ready_testkit/py.typed").exists()
