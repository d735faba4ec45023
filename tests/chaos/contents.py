"""The checkpoints of the workload: each content is a function of its id and a variant number.

So the checker knows the content of any event without the service, and without keeping a million
documents.
"""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

from tests.support.documents import checkpoint
from tests.support.sample_jobs import FIRST_CREATED_AT, SECONDS_OF_A_YEAR, contradiction

if TYPE_CHECKING:
    from tests.support.documents import Document

VARIANTS = 8
JOBS = 5000
ACCURACY = "full_valid_mean_token_accuracy"
MODELS = (
    "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-{step}",
    "ft:gpt-4o-mini:openai::7p4lURel",
    "gpt-4.1-mini.ft-0123456789abcdef0123456789abcdef:ckpt-step-{step}",
    "/data/outputs/llama-lora/checkpoint-{step}",
    "our-model-v7",
)


def checkpoint_id(seed: int, number: int) -> str:
    """Return the id of a number; some are hard to escape, split or compare."""
    plain = f"ftckpt_{seed}_{number}"
    odd = {
        3: f"ftckpt_{seed}_ü✓_{number}",
        17: f'<{seed}/"{number}">',
        37: f" {plain}",
        61: f"i:{plain}\u0000",
        83: f"{plain}_{'long' * 300}",
    }
    return odd.get(number % 100, plain)


def content_of(one: str, variant: int = 0) -> Document:
    """Return the checkpoint of an id in wire spelling; variants above 0 contradict it."""
    rng = random.Random(zlib.crc32(one.encode()))  # noqa: S311 - made up, but always the same
    step = rng.randrange(1, 5000)
    metrics: dict[str, float] = {}
    amount = rng.random()
    if amount > 0.1:
        metrics["step"] = step
        metrics["train_loss"] = round(4 * rng.random(), 6)
    if amount > 0.5:
        metrics["valid_loss"] = round(4 * rng.random(), 6)
    if variant:
        metrics |= contradiction(variant)
    return checkpoint(
        id=one,
        created_at=FIRST_CREATED_AT + rng.randrange(SECONDS_OF_A_YEAR),
        fine_tuned_model_checkpoint=rng.choice(MODELS).format(step=step),
        fine_tuning_job_id=f"ftjob-{rng.randrange(JOBS)}",
        metrics=metrics,
        step_number=step,
        seed=rng.randrange(2**31) if amount > 0.95 else ...,
    )


def variant_of(content: Document) -> int:
    """Return which variant of its id a content is."""
    metrics: dict[str, float] = content["metrics"]
    for number in range(VARIANTS):
        if _has(metrics, number):
            return number
    raise ValueError(f"no variant has these metrics: {metrics}")


def _has(metrics: dict[str, float], variant: int) -> bool:
    if not variant:
        return ACCURACY not in metrics  # no first content has it
    return metrics.items() >= contradiction(variant).items()
