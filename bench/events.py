"""Events of a realistic size for measurements."""

import msgspec


def checkpoint(checkpoint_id: str, step: int) -> bytes:
    """Return one checkpoint in wire spelling, about 430 bytes."""
    return msgspec.json.encode(
        {
            "object": "fine_tuning.job.checkpoint",
            "id": checkpoint_id,
            "created_at": 1_719_763_200 + step % 100_000,
            "fine_tuned_model_checkpoint": "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:"
            f"9ABel2dg:ckpt-step-{step}",
            "fine_tuning_job_id": f"ftjob-{step % 1000:024d}",
            "metrics": {
                "step": step,
                "train_loss": 0.478 + step % 7,
                "train_mean_token_accuracy": 0.874,
                "full_valid_loss": 0.567 + step % 5,
                "full_valid_mean_token_accuracy": 0.874,
            },
            "step_number": step,
        }
    )
