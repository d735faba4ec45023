"""The configuration file: defaults, and one clear message for each problem."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from consumer.errors import ConfigError
from consumer.sources.ingest_config import (
    BearerWebhook,
    BodyHmacWebhook,
    IngestConfig,
    StandardWebhook,
)
from consumer.sources.ingest_config_file import load_config

if TYPE_CHECKING:
    from pathlib import Path

HMAC = '[webhooks.a]\nkind = "hmac-body"\nsecret_files = ["/t"]\n'
STANDARD = '[webhooks.a]\nkind = "standard-webhooks"\nsecret_files = ["/t"]\n'
BEARER = '[webhooks.a]\nkind = "bearer"\ntoken_files = ["/t"]\n'
MAPPED = """[webhooks.a.checkpoint.fields]
id = { pointer = "/id" }
created_at = { pointer = "/t" }
fine_tuning_job_id = { pointer = "/j" }
fine_tuned_model_checkpoint = { pointer = "/m" }
step_number = { pointer = "/s" }
"""
TOKENS = '[checkpoints]\ntoken_files = ["/t"]\n'


def load(tmp_path: Path, text: str) -> IngestConfig:
    """Load a configuration."""
    path = tmp_path / "ingest.toml"
    path.write_text(text)
    return load_config(path)


def test_the_smallest_file(tmp_path: Path) -> None:
    """Everything else has a default."""
    path = tmp_path / "ingest.toml"
    path.write_text('[webhooks.wandb]\nkind = "bearer"\ntoken_files = ["/t"]')
    config = load_config(path)
    assert config.webhooks == {"wandb": BearerWebhook(token_files=("/t",))}
    assert (config.port, config.limits.body_bytes) == (8081, 1024 * 1024)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing may be sent"),
        ("port = 0", "port"),
        ("= 1", "line 1"),
        (TOKENS + "anonymous = true", "either token_files or anonymous"),
        (TOKENS + "tokens = 1", "unknown field `tokens` - at `$.checkpoints`"),
        (TOKENS + "[limits]\nmemory_bytes = 2097152\nbody_bytes = 2097152", "at least twice"),
        (TOKENS + "[limits]\nshutdown_seconds = 1", "limits.shutdown_seconds must be at least"),
        (
            BEARER + '[webhooks."b.c"]\nkind = "other"',
            "Invalid value 'other' - at `$.webhooks.b.c.kind`",
        ),
        (
            BEARER + '[webhooks.b]\nkind = "bearer"\ntoken_files = ["/t", 7]',
            "Expected `str`, got `int` - at `$.webhooks.b.token_files[",
        ),
        (
            BEARER + MAPPED + "provider = { pointer = 7 }",
            "Expected `str`, got `int` - at `$.webhooks.a.checkpoint.fields.provider.pointer`",
        ),
        (
            BEARER + MAPPED + "[webhooks.a.checkpoint.metrics]\ntrain_loss = { point = 7 }",
            "unknown field `point` - at `$.webhooks.a.checkpoint.metrics.train_loss`",
        ),
        (TOKENS + "[limits]\nrequests = 11\nconnections = 10", "limits.requests must not be more"),
        ('[webhooks.A_B]\nkind = "bearer"\ntoken_files = ["/t"]', "webhooks.A_B: a name has"),
        ('[webhooks.a]\nkind = "bearer"\ntoken_files = []', "name at least one file"),
        ('[webhooks.a]\nkind = "standard-webhooks"', "name at least one file"),
        (
            STANDARD + 'account = "b"\n[webhooks.a.checkpoint.fields]\nid = { pointer = "/id" }',
            "account has no effect",
        ),
        (
            '[webhooks.a]\nkind = "hmac-body"\nsecret_files = ["/t"]\nheader = "x y"',
            "'x y' is no header name",
        ),
        (
            HMAC + 'header = "x"\ntimestamp_header = "y"',
            "timestamp_header must be one of signed_headers",
        ),
        (
            BEARER
            + '[webhooks.a.checkpoint]\nwhen = { "x" = 1 }\nfields = { id = { pointer = "id" } }',
            "fields.id: 'id' is no JSON pointer",
        ),
        (
            BEARER + '[webhooks.a.checkpoint.fields]\nid = { pointer = "/id", value = 1 }',
            "fields.id: set one of pointer, template and value",
        ),
        (
            BEARER + '[webhooks.a.checkpoint.fields]\nid = { pointer = "/id" }',
            "a checkpoint needs created_at, fine_tuned_model_checkpoint, fine_tuning_job_id, step_",
        ),
        (BEARER + MAPPED + 'idd = { pointer = "/id" }', "fields.idd: there is no such field"),
        (BEARER + MAPPED + "metrics = { value = 1 }", "fields.metrics: there is no such field"),
        (
            BEARER + MAPPED + '[webhooks.a.checkpoint.metrics]\nloss = { pointer = "/l" }',
            "metrics.loss: there is no such field; choose of full_valid_loss,",
        ),
        (
            BEARER + MAPPED.replace('{ pointer = "/id" }', '{ value = "x" }'),
            "fields.id: a constant would give every checkpoint the same id",
        ),
        (
            BEARER + MAPPED.replace('{ pointer = "/s" }', '{ value = "x" }'),
            "fields.step_number: Expected `int`, got `str`",
        ),
        *(
            (BEARER + MAPPED.replace('pointer = "/id"', f'template = "{template}"'), message)
            for template, message in (
                ("m-{data/name}", "fields.id: {data/name}: 'data/name' is no JSON pointer"),
                ("m-{/a/~2}", "fields.id: {/a/~2}: '/a/~2' is no JSON pointer"),
                ("m-{}", "fields.id: {}: '' is no JSON pointer"),
                ("m-{/name", "fields.id: 'm-{/name' has a brace without its counterpart"),
                ("{/a}-/name}", "has a brace without its counterpart"),
                ("{{/a}}", "has a brace without its counterpart"),
                ("m", "fields.id: 'm' has no JSON pointer in braces"),
            )
        ),
        (
            BEARER + MAPPED + '[webhooks.a.checkpoint]\nwhen = { "/at" = 2026-01-01 }',
            "when: '/at': JSON has no dates",
        ),
    ],
)
def test_a_problem_has_a_message(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file and the place in it."""
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(tmp_path, text)
    assert all("ingest.toml" in line for line in str(raised.value).splitlines())


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """As in the file of the accounts. Absolute ones stay."""
    config = load(
        tmp_path,
        """accounts_file = "accounts.toml"
[checkpoints]
token_files = ["tokens/a", "/t"]
[webhooks.a]
kind = "standard-webhooks"
secret_files = ["s"]
public_key_files = ["p"]
[webhooks.b]
kind = "hmac-body"
secret_files = ["s"]
header = "x"
[webhooks.c]
kind = "bearer"
token_files = ["s"]
""",
    )
    folder = str(tmp_path)
    assert config.accounts_file == f"{folder}/accounts.toml"
    assert config.checkpoints.token_files == (f"{folder}/tokens/a", "/t")
    standard, hmac, bearer = config.webhooks.values()
    assert isinstance(standard, StandardWebhook)
    assert isinstance(hmac, BodyHmacWebhook)
    assert isinstance(bearer, BearerWebhook)
    assert standard.public_key_files == (f"{folder}/p",)
    assert standard.secret_files == hmac.secret_files == bearer.token_files == (f"{folder}/s",)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The message says so."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "missing.toml")
