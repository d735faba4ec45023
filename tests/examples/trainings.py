"""Trainings that announce checkpoints: the file to copy, the Trainer's classes, a plain loop."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from dev.free_ports import free_ports
from dev.toolchains import python_environment
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

FILE = ROOT / "examples/trainers/huggingface/checkpoint_ready_callback.py"
PROGRAM = ROOT / "tests/examples/follow_the_trainer.py"
END_SECONDS = 60.0
QUICK: dict[str, float] = {"settle_seconds": 0.02, "first_retry_seconds": 0.02, "send_seconds": 20}
GIVES_UP_SOON = {**QUICK, "send_seconds": 0.05}


def load_callback() -> ModuleType:
    """Load the file without transformers, as a plain PyTorch loop does."""
    spec = importlib.util.spec_from_file_location("checkpoint_ready_callback", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


class Training(NamedTuple):
    """An output directory, and how to send from it."""

    module: ModuleType
    folder: Path

    def sender(self, url: str, **options: Any) -> Any:  # noqa: ANN401 - of a module without types
        """Make a sender with short waiting times."""
        limits = self.module.Limits(**{**QUICK, **options.pop("limits", {})})
        return self.module.CheckpointSender(url, "run-1", self.folder, limits=limits, **options)

    def save(self, step: int) -> Path:
        """Write a complete checkpoint."""
        path = self.folder / f"checkpoint-{step}"
        path.mkdir(exist_ok=True)
        (path / "model.safetensors").write_bytes(b"weights")
        (path / "trainer_state.json").write_text("{}")
        return path

    @property
    def spooled(self) -> list[str]:
        """The ids that are neither acknowledged nor set aside."""
        return sorted(file.stem for file in (self.folder / ".checkpoint-ready").glob("*"))

    @property
    def unsent(self) -> list[dict[str, Any]]:
        """The checkpoints in the file of those that could not be sent."""
        file = self.folder / "checkpoint-ready.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ids(self, *steps: int) -> list[str]:
        """Return the ids of these steps."""
        return [self.module.checkpoint_id("run-1", step) for step in steps]


def closed_port() -> str:
    """Return the URL of a receiver that does not run."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def program(folder: Path, url: str, **options: object) -> list[str]:
    """Return the command that follows the Trainer with the real classes."""
    argument = {"url": url, "folder": str(folder), "limits": QUICK, **options}
    python = python_environment(ROOT / "requirements/trainers.txt")
    return [str(python), str(PROGRAM), json.dumps(argument)]


VARIABLES = {**os.environ, "PYTHONPATH": str(FILE.parent), "PYTHONDONTWRITEBYTECODE": "1"}


def follow(folder: Path, url: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        program(folder, url, **options),
        env=VARIABLES,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_SECONDS,
    )
