"""Runs the tools of other ecosystems: programs in Node.js and in another Python environment."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.toolchains import npm_packages, python_environment, tool

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas" / "json"
NPM_PROJECT = Path(__file__).parent / "npm"
PROGRAMS = Path(__file__).parent / "programs"
RUN_SECONDS = 100


class Failed(Exception):
    """A program ended with an error. The message has its output."""


class NodeFolder:
    """A folder in which programs in JavaScript find the packages of the npm project."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("npm") is None:
            pytest.skip("needs Node.js 20 or newer, with npm")
        self.folder = folder
        (folder / "node_modules").symlink_to(_packages() / "node_modules")
        for path in (*NPM_PROJECT.glob("*.mjs"), *NPM_PROJECT.glob("*.ts")):
            shutil.copyfile(path, folder / path.name)
        shutil.copyfile(NPM_PROJECT / "package.json", folder / "package.json")

    def run(self, program: str, *arguments: str) -> list[Any]:
        """Run a program of the project and return the JSON lines that it prints.

        Raises:
            Failed: it ended with an error.
        """
        return _json_lines(_run([tool("node"), program, *arguments], folder=self.folder))

    def compile(self, *programs: str) -> list[str]:
        """Compile programs in TypeScript with all strict checks, and return the errors.

        A program with errors is compiled nevertheless.
        """
        options = ["--strict", "--module", "nodenext", "--target", "es2022", "--types", "node"]
        compiler = "node_modules/typescript/bin/tsc"
        command = [tool("node"), compiler, *options, "--skipLibCheck", *programs]
        done = _finished(command, folder=self.folder)
        return [line for line in done.stdout.splitlines() if not line.startswith(" ")]


def run_python(program: str, *arguments: str, lines: Iterable[object]) -> list[Any]:
    """Run a program of `programs/` with these JSON lines, and return the lines that it prints.

    Raises:
        Failed: it ended with an error.
    """
    stdin = "".join(f"{json.dumps(line)}\n" for line in lines)
    return _json_lines(_run([_python(), str(PROGRAMS / program), *arguments], stdin=stdin))


def generate_models(folder: Path, names: Iterable[str]) -> None:
    """Generate a module with pydantic models for each schema.

    Raises:
        Failed: the generator reported an error.
    """
    for name in names:
        _run([
            *(_python(), "-m", "datamodel_code_generator"),
            *("--input", str(SCHEMAS / f"{name}.json"), "--input-file-type", "jsonschema"),
            *("--output", str(folder / f"{name.replace('-', '_')}.py")),
            *("--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin"),
            *("--extra-fields", "allow", "--target-python-version", "3.11", "--use-annotated"),
        ])  # fmt: skip


@cache
def _packages() -> Path:
    return npm_packages(NPM_PROJECT)


@cache
def _python() -> str:
    return str(python_environment(ROOT / "requirements" / "schema-tools.txt"))


def _run(command: list[str], *, folder: Path | None = None, stdin: str = "") -> str:
    done = _finished(command, folder=folder, stdin=stdin)
    if done.returncode != 0:
        raise Failed(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _finished(
    command: list[str], *, folder: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def _json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]
