"""Sample checkpoints that look like the real ones: jobs of several providers.

A *content* is a checkpoint as a dict in wire spelling; `dev.demo_variants` writes it in
the many ways producers do. This module imports nothing of the service.
"""

from __future__ import annotations

import string
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

Content = dict[str, Any]

OBJECT = "fine_tuning.job.checkpoint"
# The example of the SDK's own document, byte for byte: it must be published, not refused.
SDK_EXAMPLE = (
    b'{"id":"<id>","createdAt":975522,"fineTunedModelCheckpoint":"<value>","stepNumber":855804,'
    b'"metrics":{},"fineTuningJobId":"<id>","object":"fine_tuning.job.checkpoint"}'
)
SDK_EXAMPLE_CONTENT: Content = {
    "id": "<id>",
    "created_at": 975522,
    "fine_tuned_model_checkpoint": "<value>",
    "step_number": 855804,
    "metrics": {},
    "fine_tuning_job_id": "<id>",
    "object": OBJECT,
}

FIRST_CREATED_AT = 1_735_689_600  # 2025-01-01T00:00:00Z
SECONDS_OF_A_YEAR = 31_536_000
ALPHANUMERIC = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
BASE_MODELS = (
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-2024-08-06",
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini-2025-04-14",
    "gpt-3.5-turbo-0125",
)
ORGANIZATIONS = ("my-org", "acme", "openai", "personal", "globex-ml", "københavn-ai")
SUFFIXES = ("custom_suffix", "exp-0723-002", "support-bot", "tone-v3", "sql-writer", "")
RUNS = ("llama-lora", "qwen-sft", "mistral-dpo")


class Job(NamedTuple):
    """A fine-tuning job and its checkpoints, oldest first."""

    id: str
    checkpoints: list[Content]


class _Names(NamedTuple):
    """How one provider names things; the step is None for the last checkpoint of a job."""

    job_id: str
    checkpoint_id: Callable[[], str]
    model: Callable[[int | None, int], str]


def make_job(rng: random.Random) -> Job:
    """Make up a job with three to twelve checkpoints."""
    providers = (_openai, _openai_undated, _azure, _self_hosted, _unknown)
    names = rng.choices(providers, (10, 2, 4, 3, 1))[0](rng)
    count = rng.randint(3, 12)
    every = rng.choice((10, 22, 50, 88, 100, 489))
    created_at = FIRST_CREATED_AT + rng.randrange(SECONDS_OF_A_YEAR)
    loss = rng.uniform(1.2, 3.5)
    extra = {"seed": rng.randrange(2**31)} if rng.random() < 0.1 else {}  # noqa: PLR2004 - one in ten
    checkpoints = []
    for number in range(1, count + 1):
        step = number * every
        created_at += rng.randint(60, 3600)
        loss *= rng.uniform(0.72, 0.97)
        content: Content = {
            "id": names.checkpoint_id(),
            "created_at": created_at,
            "fine_tuned_model_checkpoint": names.model(None if number == count else step, step),
            "step_number": step,
            "metrics": _metrics(rng, step, loss),
            "fine_tuning_job_id": names.job_id,
            "object": OBJECT,
            **extra,
        }
        checkpoints.append(content)
    return Job(names.job_id, checkpoints)


def other_contents(content: Content) -> Iterator[Content]:
    """Yield contents that contradict this one under its id, without end.

    This happens when an evaluation ends late: the list API fills the metrics in, and whoever polled
    before has already sent the checkpoint without them.
    """
    metrics = content["metrics"]
    number = 0
    while True:
        number += 1
        late = {"full_valid_loss": 0.5 + number / 1000, "full_valid_mean_token_accuracy": 0.875}
        yield {**content, "metrics": {**metrics, **late}}


def _openai(rng: random.Random) -> _Names:
    """`ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88`."""
    base, organization, suffix = map(rng.choice, (BASE_MODELS, ORGANIZATIONS, SUFFIXES))
    return _openai_named(rng, base, organization, suffix)


def _openai_undated(rng: random.Random) -> _Names:
    """`ft:gpt-4o-mini:openai::7p4lURel`."""
    return _openai_named(rng, rng.choice(("gpt-4o-mini", "gpt-4o")), "openai", "")


def _openai_named(rng: random.Random, base: str, organization: str, suffix: str) -> _Names:
    def model(step: int | None, _: int) -> str:
        # Every checkpoint has a job segment of its own.
        name = f"ft:{base}:{organization}:{suffix}:{_text(rng, 8)}"
        return name if step is None else f"{name}:ckpt-step-{step}"

    job_id = rng.choice(("ftjob-", "ftjob_")) + _text(rng, 24)
    return _Names(job_id, lambda: f"ftckpt_{_text(rng, 24)}", model)


def _azure(rng: random.Random) -> _Names:
    """`gpt-4o-mini-2024-07-18.ft-0123456789abcdef0123456789abcdef:ckpt-step-90`."""
    base, run = rng.choice(BASE_MODELS), _text(rng, 32, HEX)

    def model(step: int | None, _: int) -> str:
        return f"{base}.ft-{run}" if step is None else f"{base}.ft-{run}:ckpt-step-{step}"

    return _Names(f"ftjob-{run}", lambda: f"ftchkpt-{_text(rng, 32, HEX)}", model)


def _self_hosted(rng: random.Random) -> _Names:
    """`/data/outputs/checkpoint-500`."""
    run = f"{rng.choice(RUNS)}-{rng.randint(1, 999)}"

    def model(_: int | None, step: int) -> str:
        return f"/data/outputs/{run}/checkpoint-{step}"

    return _Names(f"ft-{_text(rng, 24)}", lambda: str(uuid.UUID(bytes=rng.randbytes(16))), model)


def _unknown(rng: random.Random) -> _Names:
    """`our-model-v7`: of no known shape, published all the same."""
    name = f"our-model-v{rng.randint(1, 99)}"
    return _Names(f"job/{_text(rng, 6)}", lambda: f"ckpt_{_text(rng, 12)}", lambda *_: name)


def _metrics(rng: random.Random, step: int, loss: float) -> dict[str, Any]:
    """Any of the seven numbers may be missing, also all of them."""
    kind = rng.random()
    if kind < 0.06:  # noqa: PLR2004 - a few have none
        return {}
    if kind < 0.07:  # noqa: PLR2004 - and one in a hundred diverges: exp of it overflows
        return {"step": step, "train_loss": round(loss * 10_000, 3)}
    train = {
        "step": step,
        "train_loss": round(loss, 6),
        "train_mean_token_accuracy": round(1 / (1 + loss), 6),
    }
    if kind < 0.4:  # noqa: PLR2004
        return train
    valid = round(loss * rng.uniform(0.95, 1.3), 6)
    valid_metrics = {"valid_loss": valid, "valid_mean_token_accuracy": round(1 / (1 + valid), 6)}
    if kind < 0.7:  # noqa: PLR2004
        return train | valid_metrics
    full = round(valid * rng.uniform(0.9, 1.1), 6)
    accuracy = round(1 / (1 + full), 6)
    return (
        train
        | valid_metrics
        | {
            "full_valid_loss": full,
            "full_valid_mean_token_accuracy": accuracy,
        }
    )


def _text(rng: random.Random, length: int, alphabet: str = ALPHANUMERIC) -> str:
    return "".join(rng.choices(alphabet, k=length))
