"""Announces each checkpoint that Lightning writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoint_ready_callback import CheckpointSender
from lightning.pytorch.plugins import TorchCheckpointIO


class AnnouncingCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint file, then announces it. Lightning calls it on rank 0 only."""

    def __init__(self, sender: CheckpointSender, metrics: Mapping[str, str]) -> None:
        self.sender = sender
        self.metrics = metrics  # names of Lightning -> names in the checkpoint object
        self.trainer: Any = None

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401 - as in Lightning
    ) -> None:
        """Write the file, then announce it with the newest metrics of the trainer."""
        super().save_checkpoint(checkpoint, path, storage_options)
        found = {} if self.trainer is None else self.trainer.callback_metrics
        metrics = {ours: found.get(theirs) for theirs, ours in self.metrics.items()}
        self.sender.announce(path, checkpoint["global_step"], metrics)
