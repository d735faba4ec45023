"""Parses the model name of a checkpoint. Every text gives a result; the parser never raises.

::

    ft:{base model}:{organization}:{suffix}:{job}[:ckpt-step-{n}]      openai
    {base model}.ft-{32 hex}[-{suffix}][:ckpt-step-{n}]                azure
    /any/path/checkpoint-{n}                                           path

A name without a step counts as the final model of its job (openai, azure). This is a heuristic.
The list API gives the last checkpoint of a job such a name, but its documentation does not
guarantee this.
"""

import re
from typing import Final

from schemas.ready_event import Model

# A step has at most 18 digits: so it fits 64 bits, and no text can make int() fail or take long.
_OPENAI: Final = re.compile(
    r"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
_STEP_TAIL: Final = re.compile(r"ckpt-step-([0-9]{1,18})").fullmatch
_AZURE_JOB: Final = re.compile(r"\.ft-[0-9a-f]{32}(?:-|\Z)").match
_AZURE_JOB_START: Final = ".ft-"
_PATH: Final = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)").match
_PATH_STEP: Final = re.compile(r"(?:\A|.*[/\\])checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL).fullmatch

UNRECOGNISED: Final = Model("unrecognised")


def parse_model_name(name: str) -> Model:
    """Return provider, base model, organization, suffix and step of a model name."""
    openai = _OPENAI(name)
    if openai is not None:
        base_model, organization, suffix, step = openai.groups()
        number = None if step is None else int(step)
        return Model(
            "openai", base_model, organization or None, suffix or None, number, step is None
        )
    azure = _parse_azure(name)
    if azure is not None:
        return azure
    path_step = _PATH_STEP(name)
    if path_step is not None:
        return Model("path", step=int(path_step[1]))
    return Model("path") if _PATH(name) else UNRECOGNISED


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
