"""Model names as they are seen in the wild."""

import pytest

from consumer.pipeline.model_name import UNRECOGNISED, parse_model_name
from schemas.ready_event import Model

AZURE_JOB = "ft-0123456789abcdef0123456789abcdef"
NAMES = [
    (
        "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88",
        Model("openai", "gpt-4o-mini-2024-07-18", "my-org", "custom_suffix", 88, is_final=False),
    ),
    (
        "ft:gpt-4o-2024-08-06:personal::AEk9daX3:ckpt-step-1956",
        Model("openai", "gpt-4o-2024-08-06", "personal", None, 1956, is_final=False),
    ),
    (
        "ft:gpt-4.1-2025-04-14:acme:exp-0723-002:BwRgAyL5:ckpt-step-194",
        Model("openai", "gpt-4.1-2025-04-14", "acme", "exp-0723-002", 194, is_final=False),
    ),
    (
        "ft:gpt-4o-mini:openai::7p4lURel",
        Model("openai", "gpt-4o-mini", "openai", None, None, is_final=True),
    ),
    (
        f"gpt-4o-mini-2024-07-18.{AZURE_JOB}:ckpt-step-90",
        Model("azure", "gpt-4o-mini-2024-07-18", None, None, 90, is_final=False),
    ),
    (
        f"gpt-4.1-mini-2025-04-14.{AZURE_JOB}",
        Model("azure", "gpt-4.1-mini-2025-04-14", None, None, None, is_final=True),
    ),
    (
        f"gpt-4o-mini-2024-07-18.{AZURE_JOB}-my-suffix",
        Model("azure", "gpt-4o-mini-2024-07-18", None, "my-suffix", None, is_final=True),
    ),
    ("/data/outputs/checkpoint-500", Model("path", step=500)),
    ("/data/outputs/checkpoint-500/", Model("path", step=500)),
    ("outputs/checkpoint-7", Model("path", step=7)),
    ("s3://bucket/model", Model("path")),
    ("C:\\models\\checkpoint-3", Model("path", step=3)),
]


@pytest.mark.parametrize(("name", "model"), NAMES, ids=[name for name, _ in NAMES])
def test_known_shapes(name: str, model: Model) -> None:
    """Each shape of the contract is read in full."""
    assert parse_model_name(name) == model


@pytest.mark.parametrize(
    "name",
    [
        "",
        "<value>",
        "gpt-4o",
        "ft:",
        "ft:::::",
        "ft:gpt:org:suffix:more:job:ckpt-step-1",
        "ft:gpt:org::job:ckpt-step-x",
        "ft:gpt:org::job:ckpt-step-\u0663",
        "ft:gpt:org::ckpt-step-5",
        "ft:gpt:org::job:ckpt-step-" + "9" * 5000,
        ".ft-0123",
        "\x00",
        "org/model",
    ],
)
def test_unknown_shapes_are_unrecognised(name: str) -> None:
    """Any other name is unrecognised, without a guess."""
    assert parse_model_name(name) == UNRECOGNISED
