"""Describes the model of a checkpoint, as the member `data.model` of its ready event."""

import re
from collections.abc import Mapping
from typing import Any, Final

_STEP: Final = r"(?::ckpt-step-([0-9]{1,18}))?"
_OPENAI: Final = re.compile(rf"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+{_STEP}")
# The greedy `.+` finds the last job id with which the whole name is valid, as the service does.
_AZURE: Final = re.compile(rf"([^:/\\]+)\.ft-[0-9a-f]{{32}}(?:-([^:/\\]+))?{_STEP}")
_MISTRAL: Final = re.compile(
    r"ft:((?:open-)?(?:mistral|mixtral|ministral|codestral|pixtral|magistral|devstral)[^:]*)"
    r":([0-9a-f]{8}):[0-9]{8}(?::([^:]+))?:[0-9a-f]{8}"
)
_TINKER_STEP: Final = re.compile(
    r"tinker://(?:.*/)?(?:step|checkpoint)[-_]([0-9]{1,18})/?", re.DOTALL
)
_FIREWORKS: Final = re.compile(r"accounts/([^/\s]+)/models/[^/\s]+")
_TOGETHER: Final = re.compile(r"([^/:\\]+)/([^/:\\]+?-Reference)(?:-([^/:\\]+))?-[0-9a-f]{8}")
_PATH_STEP: Final = re.compile(r"(?:.*[/\\])?checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL)
_PATH: Final = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)")


def describe_model(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model of a checkpoint. Fields of the producer replace what the name says."""
    model = parse_model_name(checkpoint["fine_tuned_model_checkpoint"])
    return model | {
        name: checkpoint[name] for name in ("provider", "base_model") if name in checkpoint
    }


def parse_model_name(name: str) -> dict[str, Any]:
    """Return provider, base model, organization, suffix and step of a model name.

    Every text gives a result: the provider of an unknown form of name is ``unrecognised``.
    """
    mistral = _MISTRAL.fullmatch(name)
    if mistral is not None:
        base_model, organization, suffix = mistral.groups()
        return _model("mistral", base_model, organization, suffix, is_final=True)
    openai = _OPENAI.fullmatch(name)
    if openai is not None:
        base_model, organization, suffix, step = openai.groups()
        return _model("openai", base_model, organization, suffix, step, is_final=step is None)
    azure = _AZURE.fullmatch(name)
    if azure is not None:
        base_model, suffix, step = azure.groups()
        return _model("azure", base_model, None, suffix, step, is_final=step is None)
    if name.startswith("tinker://"):
        tinker_step = _TINKER_STEP.fullmatch(name)
        return _model("tinker", step=None if tinker_step is None else tinker_step[1])
    path_step = _PATH_STEP.fullmatch(name)
    if path_step is not None:
        return _model("path", step=path_step[1])
    return _model("path") if _PATH.match(name) else _resource(name)


def _resource(name: str) -> dict[str, Any]:
    fireworks = _FIREWORKS.fullmatch(name)
    if fireworks is not None:
        return _model("fireworks", organization=fireworks[1])
    together = _TOGETHER.fullmatch(name)
    if together is not None:
        organization, base_model, suffix = together.groups()
        return _model("together", base_model, organization, suffix)
    return _model("unrecognised")


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
