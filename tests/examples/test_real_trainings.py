"""The trainings of examples/trainers, run with the Python that TRAINERS_PYTHON names.

PyTorch is too large for CI: its packages for Linux have several gigabytes. So these tests are only
collected if the variable is set.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.checkpoint_receiver import checkpoint_receiver
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TRAINERS = ROOT / "examples/trainers"
RUN_SECONDS = 110.0


@pytest.mark.parametrize(
    ("program", "names", "metrics"),
    [
        (
            "huggingface/train_gpt2.py",
            ("checkpoint-2", "checkpoint-4", "checkpoint-6"),
            {"step", "train_loss", "full_valid_loss"},
        ),
        (
            "pytorch/train_loop.py",
            ("checkpoint-2.pt", "checkpoint-4.pt", "checkpoint-6.pt"),
            {"step", "train_loss"},
        ),
        (
            "lightning/train_lightning.py",
            ("epoch=0-step=2.ckpt", "epoch=0-step=4.ckpt", "epoch=0-step=6.ckpt"),
            {"step", "train_loss"},
        ),
    ],
)
def test_each_checkpoint_arrives(
    program: str, names: tuple[str, ...], metrics: set[str], tmp_path: Path
) -> None:
    """A real training saves three checkpoints; each arrives with its step and its metrics."""
    with checkpoint_receiver() as receiver:
        done = subprocess.run(
            [os.environ["TRAINERS_PYTHON"], TRAINERS / program, receiver.url, "run-1", tmp_path],
            env={**os.environ, "PYTHONPATH": str(TRAINERS / "huggingface")},
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )
    assert done.returncode == 0, done.stderr
    documents = [request.document for request in receiver.requests]
    assert [one["step_number"] for one in documents] == [2, 4, 6]
    paths = [one["fine_tuned_model_checkpoint"] for one in documents]
    assert paths == [str(tmp_path / name) for name in names]
    for one, path in zip(documents, paths, strict=True):
        assert one["metrics"].keys() == metrics
        assert os.path.exists(path)  # noqa: PTH110 - it is text
    assert list((tmp_path / ".checkpoint-ready").iterdir()) == []
