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
    ("gs://bucket/run/checkpoint-500", Model("path", step=500)),
    ("abfss://data@account.dfs.core.windows.net/run/checkpoint-9/", Model("path", step=9)),
    ("hf://org/name", Model("path")),
    ("accounts/acme/models/checkpoint-7", Model("path", step=7)),
    (
        "ft:open-mistral-7b:587a6b29:20240514:7e773925",
        Model("mistral", "open-mistral-7b", "587a6b29", is_final=True),
    ),
    (
        "ft:open-mistral-7b:504267b8:20240620:MyCoach:29b5b062",
        Model("mistral", "open-mistral-7b", "504267b8", "MyCoach", is_final=True),
    ),
    (
        "ft:mistral-small-latest:7e530b29:20250708:d2bd4879",
        Model("mistral", "mistral-small-latest", "7e530b29", is_final=True),
    ),
    (
        "ft:gpt-4o:587a6b29:20240514:7e773925",
        Model("openai", "gpt-4o", "587a6b29", "20240514", is_final=True),
    ),
    ("tinker://run-1/sampler_weights/step-100", Model("tinker", step=100)),
    ("tinker://run-1:train:0/weights/step_000100", Model("tinker", step=100)),
    ("tinker://run-1/sampler_weights/checkpoint-100", Model("tinker", step=100)),
    ("tinker://run-1:train:0/sampler_weights/000376", Model("tinker")),
    ("tinker://run-1/sampler_weights/final", Model("tinker")),
    ("accounts/acme/models/my-model", Model("fireworks", organization="acme")),
    (
        "acme/Meta-Llama-3.1-8B-Instruct-Reference-my-suffix-b34d4ba5",
        Model("together", "Meta-Llama-3.1-8B-Instruct-Reference", "acme", "my-suffix"),
    ),
    (
        "acme/Llama-3.3-70B-Instruct-Reference-8203709c",
        Model("together", "Llama-3.3-70B-Instruct-Reference", "acme"),
    ),
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
        "org/model-8203709c",
        "org/model-Reference",
        "org/-Reference-8203709c",
        "accounts/acme",
        "accounts/acme/models/",
        "accounts/acme/models/a/b",
        "accounts//models/a",
        "ft:open-mistral-7b:XXX",
        "ft:open-mistral-7b:my-great-model:20240620:a:29b5b062",
    ],
)
def test_unknown_shapes_are_unrecognised(name: str) -> None:
    """Any other name is unrecognised, without a guess."""
    assert parse_model_name(name) == UNRECOGNISED
