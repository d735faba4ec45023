"""Each provider state is one checkpoint: the input line of `checkpoint-ready pipe`."""

import json
from typing import Any

WITH_VALIDATION_LOSS = "a checkpoint with a validation loss"
WITHOUT_METRICS = "a checkpoint without metrics"

_CHECKPOINT: dict[str, Any] = {
    "object": "fine_tuning.job.checkpoint",
    "id": "ftckpt_1",
    "created_at": 1721764867,
    "fine_tuned_model_checkpoint": "ft:gpt-4o-mini-2024-07-18:my-org:support:9ABel2dg:ckpt-step-88",
    "fine_tuning_job_id": "ftjob-abc123",
    "metrics": {"step": 88, "train_loss": 0.478, "full_valid_loss": 0.134},
    "step_number": 88,
}
_CHECKPOINTS = {
    WITH_VALIDATION_LOSS: _CHECKPOINT,
    WITHOUT_METRICS: {**_CHECKPOINT, "metrics": {}},
}


def input_line(state: str) -> bytes:
    """Return the line for a provider state.

    Raises:
        KeyError: there is no such state.
    """
    return json.dumps(_CHECKPOINTS[state]).encode() + b"\n"
