"""The configuration file: defaults, and one clear message for each problem."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from consumer.errors import ConfigError
from consumer.sources.ingest_config import BearerWebhook
from consumer.sources.ingest_config_file import load_config

if TYPE_CHECKING:
    from pathlib import Path

HMAC = '[webhooks.a]\nkind = "hmac-body"\nsecret_files = ["/t"]\n'
STANDARD = '[webhooks.a]\nkind = "standard-webhooks"\nsecret_files = ["/t"]\n'
BEARER = '[webhooks.a]\nkind = "bearer"\ntoken_files = ["/t"]\n'
TOKENS = '[checkpoints]\ntoken_files = ["/t"]\n'


def load(tmp_path: Path, text: str) -> object:
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
        ('[webhooks.a]\nkind = "other"', "Invalid value 'other' - at `$.webhooks[...].kind`"),
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
    ],
)
def test_a_problem_has_a_message(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file and the place in it."""
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(tmp_path, text)
    assert all("ingest.toml" in line for line in str(raised.value).splitlines())


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The message says so."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "missing.toml")
