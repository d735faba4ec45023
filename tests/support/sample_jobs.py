"""Sample fine-tuning jobs of hosted providers and own trainers, with checkpoints as they name them.

`tests.support.variants` writes a checkpoint in the many ways of producers. Nothing here imports the
service.
"""

from __future__ import annotations

import string
import uuid
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.documents import OBJECT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.support.documents import Document

SDK_EXAMPLE_CONTENT: Document = {
    "id": "<id>",
    "created_at": 975522,
    "fine_tuned_model_checkpoint": "<value>",
    "step_number": 855804,
    "metrics": {},
    "fine_tuning_job_id": "<id>",
    "object": OBJECT,
}
"""The content of `SDK_EXAMPLE` in wire spelling."""

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
OPEN_MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B", "mistralai/Mistral-7B-v0.3")
MISTRAL_MODELS = ("open-mistral-7b", "mistral-small-latest")
SECONDS_OF_A_MONTH = 2_592_000


class Job(NamedTuple):
    """A fine-tuning job and its checkpoints, oldest first."""

    id: str
    checkpoints: list[Document]


class _Names(NamedTuple):
    """How one provider names things; the step is None for the last checkpoint of a job."""

    job_id: str
    checkpoint_id: Callable[[], str]
    model: Callable[[int | None, int], str]
    fields: Callable[[int, int], Document] = lambda *_: {}
    """The optional fields that the producer sets, from the step and the time of creation."""


def make_job(rng: random.Random) -> Job:
    """Return a random job with three to twelve checkpoints."""
    names = rng.choices(PROVIDERS, WEIGHTS)[0](rng)
    checkpoint_count = rng.randint(3, 12)
    every = rng.choice((10, 22, 50, 88, 100, 489))
    created_at = FIRST_CREATED_AT + rng.randrange(SECONDS_OF_A_YEAR)
    loss = rng.uniform(1.2, 3.5)
    extra = {"seed": rng.randrange(2**31)} if rng.random() < 0.1 else {}
    checkpoints = []
    for number in range(1, checkpoint_count + 1):
        step = number * every
        created_at += rng.randint(60, 3600)
        loss *= rng.uniform(0.72, 0.97)
        content: Document = {
            "id": names.checkpoint_id(),
            "created_at": created_at,
            "fine_tuned_model_checkpoint": names.model(
                None if number == checkpoint_count else step, step
            ),
            "step_number": step,
            "metrics": _metrics(rng, step, loss),
            "fine_tuning_job_id": names.job_id,
            "object": OBJECT,
            **names.fields(step, created_at),
            **extra,
        }
        checkpoints.append(content)
    return Job(names.job_id, checkpoints)


def contradiction(number: int) -> dict[str, float]:
    """Return metrics that contradict a checkpoint without them; each number gives other ones.

    This happens when an evaluation ends late: the list API adds the metrics, and a producer that
    polled before has already sent the checkpoint without them.
    """
    return {"full_valid_loss": 0.5 + number / 1000, "full_valid_mean_token_accuracy": 0.875}


def other_contents(content: Document) -> Iterator[Document]:
    """Yield an endless sequence of contents under the same id, all different from this one."""
    for number in count(1):
        yield {**content, "metrics": {**content["metrics"], **contradiction(number)}}


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


def _trainer(rng: random.Random) -> _Names:
    """`s3://models/llama-lora-7/checkpoint-500`, by a trainer that names itself and its base."""
    base, run = rng.choice(OPEN_MODELS), f"{rng.choice(RUNS)}-{rng.randint(1, 999)}"

    def model(_: int | None, step: int) -> str:
        return f"s3://models/{run}/checkpoint-{step}"

    def fields(step: int, _: int) -> Document:
        return {"provider": "trainer", "base_model": base, "uri": model(None, step)}

    return _Names(run, lambda: f"{run}-{_text(rng, 12, HEX)}", model, fields)


def _tinker(rng: random.Random) -> _Names:
    """`tinker://0123.../sampler_weights/step-100`, which is deleted after a month."""
    base, run = rng.choice(OPEN_MODELS), str(uuid.UUID(bytes=rng.randbytes(16)))

    def model(_: int | None, step: int) -> str:
        return f"tinker://{run}:train:0/sampler_weights/step-{step}"

    def fields(step: int, created_at: int) -> Document:
        uri, expires_at = model(None, step), created_at + SECONDS_OF_A_MONTH
        return {"base_model": base, "uri": uri, "expires_at": expires_at}

    return _Names(run, lambda: f"{run}-{_text(rng, 12, HEX)}", model, fields)


def _mistral(rng: random.Random) -> _Names:
    """`ft:open-mistral-7b:587a6b29:20240514:7e773925`: only the last checkpoint has a name."""
    base, organization, job = rng.choice(MISTRAL_MODELS), _text(rng, 8, HEX), _text(rng, 8, HEX)
    name = f"ft:{base}:{organization}:20250102:{job}"
    return _Names(job, lambda: f"{job}-{_text(rng, 8, HEX)}", lambda *_: name)


def _together(rng: random.Random) -> _Names:
    """`acme/Meta-Llama-3.1-8B-Instruct-Reference-my-suffix-b34d4ba5`."""
    job = _text(rng, 8, HEX)
    name = f"acme/Meta-Llama-3.1-8B-Instruct-Reference-{rng.choice(RUNS)}-{job}"
    return _Names(f"ft-{job}", lambda: f"ft-{job}-{_text(rng, 8, HEX)}", lambda *_: name)


def _fireworks(rng: random.Random) -> _Names:
    """`accounts/acme/models/qwen-sft-0123abcd`."""
    run = f"{rng.choice(RUNS)}-{_text(rng, 8, HEX)}"
    name = f"accounts/acme/models/{run}"
    return _Names(run, lambda: f"{run}-{_text(rng, 8, HEX)}", lambda *_: name)


def _unknown(rng: random.Random) -> _Names:
    """`our-model-v7`: of no known shape, published all the same."""
    name = f"our-model-v{rng.randint(1, 99)}"
    return _Names(f"job/{_text(rng, 6)}", lambda: f"ckpt_{_text(rng, 12)}", lambda *_: name)


def _metrics(rng: random.Random, step: int, loss: float) -> dict[str, Any]:
    """Return metrics; any of the seven may be missing, and sometimes all are."""
    kind = rng.random()
    if kind < 0.06:
        return {}
    if kind < 0.07:
        return {"step": step, "train_loss": round(loss * 10_000, 3)}
    train = {
        "step": step,
        "train_loss": round(loss, 6),
        "train_mean_token_accuracy": round(1 / (1 + loss), 6),
    }
    if kind < 0.4:
        return train
    valid = round(loss * rng.uniform(0.95, 1.3), 6)
    valid_metrics = {"valid_loss": valid, "valid_mean_token_accuracy": round(1 / (1 + valid), 6)}
    if kind < 0.7:
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


PROVIDERS = (
    *(_openai, _openai_undated, _azure, _self_hosted, _trainer),
    *(_tinker, _mistral, _together, _fireworks, _unknown),
)
WEIGHTS = (6, 1, 4, 2, 4, 2, 1, 1, 1, 1)
