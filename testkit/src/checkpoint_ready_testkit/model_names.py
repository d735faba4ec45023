"""Parses the model name of a checkpoint into the member `data.model` of its ready event."""

import re
from typing import Any, Final

_STEP: Final = r"(?::ckpt-step-([0-9]{1,18}))?"
_OPENAI: Final = re.compile(rf"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+{_STEP}")
# The greedy `.+` finds the last job id with which the whole name is valid, as the service does.
_AZURE: Final = re.compile(rf"([^:/\\]+)\.ft-[0-9a-f]{{32}}(?:-([^:/\\]+))?{_STEP}")
_PATH_STEP: Final = re.compile(r"(?:.*[/\\])?checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL)
_PATH: Final = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)")


def parse_model_name(name: str) -> dict[str, Any]:
    """Return provider, base model, organization, suffix and step of a model name.

    Every text gives a result: the provider of an unknown form of name is ``unrecognised``.
    """
    openai = _OPENAI.fullmatch(name)
    if openai is not None:
        base_model, organization, suffix, step = openai.groups()
        return _model("openai", base_model, organization, suffix, step, is_final=step is None)
    azure = _AZURE.fullmatch(name)
    if azure is not None:
        base_model, suffix, step = azure.groups()
        return _model("azure", base_model, None, suffix, step, is_final=step is None)
    path_step = _PATH_STEP.fullmatch(name)
    if path_step is not None:
        return _model("path", step=path_step[1])
    return _model("path" if _PATH.match(name) else "unrecognised")


def _model(  # noqa: PLR0913 - one parameter for each member
    provider: str,
    base_model: str | None = None,
    organization: str | None = None,
    suffix: str | None = None,
    step: str | None = None,
    *,
    is_final: bool = False,
) -> dict[str, Any]:
    return {
        "provider": provider,
        "base_model": base_model,
        "organization": organization or None,
        "suffix": suffix or None,
        "step": None if step is None else int(step),
        "is_final": is_final,
    }
