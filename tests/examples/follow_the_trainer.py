"""Calls the callback as the Trainer does, with the real classes of transformers, without PyTorch.

The real `DefaultFlowCallback` decides when to log and to save. Log, evaluation and save have the
order of `Trainer._maybe_log_save_evaluate` and `Trainer._save_checkpoint`. The argument is a JSON
object; see `follow`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from checkpoint_ready_callback import CheckpointReadyCallback, Limits
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback


def follow(  # noqa: PLR0913 - each by its name
    url: str,
    folder: str,
    *,
    steps: int = 6,
    first_step: int = 1,
    is_rank_0: bool = True,
    wait_after_step: int = 0,
    fail_after_step: int = 0,
    limits: dict[str, Any],
) -> None:
    """Go through the steps of a training, which saves every second one."""
    callback = CheckpointReadyCallback(url, "run-1", limits=Limits(**limits))
    handler = CallbackHandler([DefaultFlowCallback, callback], None, None, None, None)
    arguments = TrainingArguments(folder, max_steps=steps, logging_steps=1, save_steps=2)
    state = TrainerState(
        is_world_process_zero=is_rank_0, max_steps=steps, logging_steps=1, save_steps=2
    )
    control = handler.on_train_begin(arguments, state, TrainerControl())
    for step in range(first_step, steps + 1):
        control = handler.on_step_begin(arguments, state, control)
        state.global_step = step
        control = handler.on_step_end(arguments, state, control)
        if control.should_log:
            state.log_history.append({"loss": 4.0 - step / 10, "step": step})
            control = handler.on_log(arguments, state, control, logs=state.log_history[-1])
        if control.should_save:
            state.log_history.append({"eval_loss": 3.0, "step": step})
            save(Path(folder) / f"checkpoint-{step}", state)
            control = handler.on_save(arguments, state, control)
        if step == wait_after_step:
            print("saved", flush=True)  # noqa: T201 - to the test
            sys.stdin.read()
        if step == fail_after_step:
            raise RuntimeError("the training fails")
    handler.on_train_end(arguments, state, control)


def save(path: Path, state: TrainerState) -> None:
    """Write the files of a checkpoint, the state last."""
    path.mkdir(exist_ok=True)
    (path / "model.safetensors").write_bytes(b"weights")
    state.save_to_json(str(path / "trainer_state.json"))


def main() -> None:
    """Read the argument."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    follow(**options)
    print("ended", flush=True)  # noqa: T201 - to the test


if __name__ == "__main__":
    main()
