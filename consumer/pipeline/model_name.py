"""Describes the model of a checkpoint by the producer's fields and by the model name.

Every text gives a result; the parser never raises. ::

    ft:{base model}:{organization}:{suffix}:{job}[:ckpt-step-{n}]           openai
    {base model}.ft-{32 hex}[-{suffix}][:ckpt-step-{n}]                     azure
    ft:{Mistral model}:{8 hex}:{date}[:{suffix}]:{8 hex}                    mistral
    tinker://{run}/{weights or sampler_weights}/{any name, or step-{n}}     tinker
    {organization}/{model}-Reference[-{suffix}]-{8 hex}                     together
    accounts/{organization}/models/{id}                                     fireworks
    /any/path/checkpoint-{n}, {scheme}://any/path/checkpoint-{n}            path

A name without a step counts as the final model of its job (openai, azure, mistral). This is a
heuristic. The list API of OpenAI gives the last checkpoint of a job such a name, but its
documentation does not guarantee this.
"""

import re
from typing import Final

from msgspec.structs import replace

from schemas.checkpoint import Checkpoint
from schemas.ready_event import Model

# A step has at most 18 digits: so it fits 64 bits, and no text can make int() fail or take long.
_OPENAI: Final = re.compile(
    r"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
# Some names of Mistral also have the form of OpenAI. So the base model must be one of Mistral's.
_MISTRAL: Final = re.compile(
    r"ft:((?:open-)?(?:mistral|mixtral|ministral|codestral|pixtral|magistral|devstral)[^:]*)"
    r":([0-9a-f]{8}):[0-9]{8}(?::([^:]+))?:[0-9a-f]{8}"
).fullmatch
_STEP_TAIL: Final = re.compile(r"ckpt-step-([0-9]{1,18})").fullmatch
_AZURE_JOB: Final = re.compile(r"\.ft-[0-9a-f]{32}(?:-|\Z)").match
_AZURE_JOB_START: Final = ".ft-"
_TINKER: Final = "tinker://"
_TINKER_STEP: Final = re.compile(r"(?:step|checkpoint)[-_]([0-9]{1,18})").fullmatch
_FIREWORKS: Final = re.compile(r"accounts/([^/\s]+)/models/[^/\s]+").fullmatch
_TOGETHER: Final = re.compile(r"[^/:\\]+/([^/:\\]+)-[0-9a-f]{8}").fullmatch
_TOGETHER_MARK: Final = "-Reference"
# Searched apart from the rest of the name. One pattern for both would take quadratic time.
_TOGETHER_BASE_END: Final = re.compile(_TOGETHER_MARK + r"(?:-(?=.)|\Z)", re.DOTALL).search
_PATH: Final = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)").match
_PATH_STEP: Final = re.compile(r"(?:\A|.*[/\\])checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL).fullmatch

UNRECOGNISED: Final = Model("unrecognised")


def describe_model(checkpoint: Checkpoint) -> Model:
    """Return the model of a checkpoint. Fields of the producer replace what the name says."""
    model = parse_model_name(checkpoint.fine_tuned_model_checkpoint)
    if checkpoint.provider is not None:
        model = replace(model, provider=checkpoint.provider)
    if checkpoint.base_model is not None:
        model = replace(model, base_model=checkpoint.base_model)
    return model


def parse_model_name(name: str) -> Model:
    """Return provider, base model, organization, suffix and step of a model name."""
    mistral = _MISTRAL(name)
    if mistral is not None:
        return Model("mistral", mistral[1], mistral[2], mistral[3], is_final=True)
    openai = _OPENAI(name)
    if openai is not None:
        base_model, organization, suffix, step = openai.groups()
        number = None if step is None else int(step)
        return Model(
            "openai", base_model, organization or None, suffix or None, number, step is None
        )
    return _parse_azure(name) or _parse_place(name) or _parse_resource(name)


def _parse_azure(name: str) -> Model | None:
    """Return the model of an Azure name, None for any other text, in linear time.

    The job is `.ft-` and 32 hex digits. The base model and the suffix can contain such a text too.
    The job is the last such text with which the whole name is valid, so this function searches from
    the end. A single pattern for the whole name would read the rest of the name again at each such
    text. That takes minutes for 1 MB.
    """
    head, colon, tail = name.partition(":")
    step = _STEP_TAIL(tail) if colon else None
    if (colon and step is None) or "/" in head or "\\" in head:
        return None
    start = head.rfind(_AZURE_JOB_START)
    while start > 0:
        job = _AZURE_JOB(head, start)
        if job is not None:
            suffix = head[job.end() :]
            if suffix or not job[0].endswith("-"):
                number = None if step is None else int(step[1])
                return Model("azure", head[:start], None, suffix or None, number, step is None)
        start = head.rfind(_AZURE_JOB_START, 0, start)
    return None


def _parse_place(name: str) -> Model | None:
    """Return the model of a path or a URI, None for any other text.

    Tinker lets its users choose the last part of a name. A number alone is not read as a step,
    because it may count the checkpoints or the batches.
    """
    if name.startswith(_TINKER):
        step = _TINKER_STEP(name.removesuffix("/").rpartition("/")[2])
        return Model("tinker", step=None if step is None else int(step[1]))
    path_step = _PATH_STEP(name)
    if path_step is not None:
        return Model("path", step=int(path_step[1]))
    return Model("path") if _PATH(name) else None


def _parse_resource(name: str) -> Model:
    """Return the model of a name of Fireworks or Together, `UNRECOGNISED` for any other text.

    Together joins the user's account, the base model without its owner, the user's suffix and a
    part of the job. Without `-Reference` such a name cannot be told from any `owner/model`.
    """
    fireworks = _FIREWORKS(name)
    if fireworks is not None:
        return Model("fireworks", organization=fireworks[1])
    together = _TOGETHER(name)
    if together is None:
        return UNRECOGNISED
    model = together[1]
    base_end = _TOGETHER_BASE_END(model, 1)
    if base_end is None:
        return UNRECOGNISED
    base_model = model[: base_end.start()] + _TOGETHER_MARK
    suffix = model[base_end.end() :]
    return Model("together", base_model, name.partition("/")[0], suffix or None)
