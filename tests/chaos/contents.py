"""The checkpoints of the workload: each content is a function of its id and a variant's number.

So the checker can tell, for any event, what it must hold, without asking the service and without
remembering a million documents.
"""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dev.sample_events import Content

OBJECT = "fine_tuning.job.checkpoint"
VARIANTS = 8
FIRST_CREATED_AT = 1_735_689_600
YEAR_SECONDS = 31_536_000
JOBS = 5000
# No first content has this accuracy: it says that a content contradicts, its loss says which it is.
VARIANT_ACCURACY = 0.875
VARIANT_LOSS = 0.5
VARIANTS_PER_LOSS = 1000
MODELS = (
    "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-{step}",
    "ft:gpt-4o-mini:openai::7p4lURel",
    "gpt-4.1-mini.ft-0123456789abcdef0123456789abcdef:ckpt-step-{step}",
    "/data/outputs/llama-lora/checkpoint-{step}",
    "our-model-v7",
)


def checkpoint_id(seed: int, number: int) -> str:
    """Return the id of a number; some are hard on whoever escapes, splits or compares ids."""
    plain = f"ftckpt_{seed}_{number}"
    odd = {
        3: f"ftckpt_{seed}_ü✓_{number}",
        17: f'<{seed}/"{number}">',
        37: f" {plain}",
        61: f"i:{plain}\u0000",
        83: f"{plain}_{'long' * 300}",
    }
    return odd.get(number % 100, plain)


def content_of(one: str, variant: int = 0) -> Content:
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
        metrics["full_valid_loss"] = VARIANT_LOSS + variant / VARIANTS_PER_LOSS
        metrics["full_valid_mean_token_accuracy"] = VARIANT_ACCURACY
    content: Content = {
        "id": one,
        "object": OBJECT,
        "created_at": FIRST_CREATED_AT + rng.randrange(YEAR_SECONDS),
        "fine_tuned_model_checkpoint": rng.choice(MODELS).format(step=step),
        "fine_tuning_job_id": f"ftjob-{rng.randrange(JOBS)}",
        "metrics": metrics,
        "step_number": step,
    }
    if amount > 0.95:
        content["seed"] = rng.randrange(2**31)
    return content


def variant_of(content: Content) -> int:
    """Return which variant of its id a content is."""
    metrics: dict[str, float] = content["metrics"]
    if metrics.get("full_valid_mean_token_accuracy") != VARIANT_ACCURACY:
        return 0
    return round((metrics["full_valid_loss"] - VARIANT_LOSS) * VARIANTS_PER_LOSS)
