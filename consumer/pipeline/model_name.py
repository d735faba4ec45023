"""Reads what a checkpoint's model name says. Total: any text gives an answer, nothing is raised.

::

    ft:{base model}:{organization}:{suffix}:{job}[:ckpt-step-{n}]      openai
    {base model}.ft-{32 hex}[-{suffix}][:ckpt-step-{n}]                azure
    /any/path/checkpoint-{n}                                           path

A name without a step is taken for the final model of its job (openai, azure). That is a heuristic:
the list API names the last checkpoint so, but nothing promises it.
"""

import re
from typing import Final

from schemas.ready_event import Model

# 18 digits at most: every step fits 64 bits, and no text can make int() refuse or slow.
_OPENAI: Final = re.compile(
    r"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
_AZURE: Final = re.compile(
    r"([^:/\\]+)\.ft-[0-9a-f]{32}(?:-([^:/\\]+))?(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
_PATH: Final = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)").match
_PATH_STEP: Final = re.compile(r"(?:\A|.*[/\\])checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL).fullmatch

UNRECOGNISED: Final = Model("unrecognised")


def parse_model_name(name: str) -> Model:
    """Return what `name` says about the model."""
    openai = _OPENAI(name)
    if openai is not None:
        base_model, organization, suffix, step = openai.groups()
        number = None if step is None else int(step)
        return Model(
            "openai", base_model, organization or None, suffix or None, number, step is None
        )
    azure = _AZURE(name)
    if azure is not None:
        base_model, suffix, step = azure.groups()
        number = None if step is None else int(step)
        return Model("azure", base_model, None, suffix, number, step is None)
    path_step = _PATH_STEP(name)
    if path_step is not None:
        return Model("path", step=int(path_step[1]))
    return Model("path") if _PATH(name) else UNRECOGNISED
