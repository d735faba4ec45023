"""The file of accounts: defaults, and errors that name the account and the key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from consumer.errors import ConfigError
from consumer.sources.poll.accounts import Account, load_accounts
from consumer.sources.poll.errors import PassFailed
from consumer.sources.poll.secrets import secret_headers

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '[[accounts]]\nname = "one"\nkind = "openai"\nkey_file = "key"\n'


def load(folder: Path, text: str) -> list[Account]:
    """Load this text as a file."""
    path = folder / "accounts.toml"
    path.write_text(text)
    return load_accounts(path)


def test_defaults_and_relative_paths(tmp_path: Path) -> None:
    """An account needs a name, a kind and a key; its paths are relative to the file."""
    (account,) = load(tmp_path, GOOD)
    assert account.base_url == "https://api.openai.com/v1"
    assert account.key_file == str(tmp_path / "key")
    assert account.oldest_job(0) is None


def test_all_keys(tmp_path: Path) -> None:
    """Two accounts with every key."""
    text = (
        '[[accounts]]\nname = "azure"\nkind = "openai"\nauth = "api-key"\nkey_file = "/key"\n'
        'base_url = "https://a.openai.azure.com/openai/v1/"\nquery = { api-version = "v1" }\n'
        "created_after = 2026-01-31T00:00:00Z\ncreated_within_days = 30\ninterval_seconds = 10\n"
        "max_jobs_per_pass = 5\nmax_concurrency = 2\npage_size = 20\nrequest_timeout_seconds = 5\n"
        "max_attempts = 2\nmax_wait_seconds = 3\nmax_response_bytes = 4096\n"
        '[[accounts]]\nname = "gateway"\nkind = "together"\nbase_url = "http://gateway:8080/v1"\n'
        'allow_http = true\nheaders = { x-team = "a" }\n'
        'header_files = { x-portkey-api-key = "p" }\n'
        "created_after = 1700000000\n"
    )
    azure, gateway = load(tmp_path, text)
    assert azure.base_url == "https://a.openai.azure.com/openai/v1"
    assert azure.oldest_job(1_769_817_600 + 40 * 86_400) == 1_769_817_600 + 10 * 86_400
    assert gateway.oldest_job(0) == 1_700_000_000
    assert gateway.header_files == {"x-portkey-api-key": str(tmp_path / "p")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no account"),
        ("[[accounts]", "is not TOML"),
        ("[account]\nname = 'x'", "unknown key account"),
        ("accounts = 1", "no account"),
        ("accounts = [1]", "account number 1: Expected `object`"),
        ("[[accounts]]\nkind = 'openai'", "account number 1: key name: is missing"),
        (GOOD + "max_jobs = 1", "account one: key max_jobs: is not known"),
        (GOOD + "max_concurrency = '4'", "account one: key max_concurrency: Expected `int`"),
        (GOOD + "max_concurrency = 0", "account one: key max_concurrency: Expected `int` >= 1"),
        (GOOD + "headers = { a = 1 }", "account one: key headers[...]: Expected `str`"),
        (GOOD.replace('"openai"', '"other"'), "account one: key kind: Invalid enum value"),
        (GOOD.replace('"openai"', '"fireworks"'), "account one: key base_url: set it to https"),
        (
            GOOD.replace('"openai"', '"tinker"') + "created_within_days = 1",
            "account one: key created_after or created_within_days: a run of Tinker has no time",
        ),
        (GOOD.replace('"one"', '"o ne"'), "account o ne: key name: "),
        (GOOD.replace("key_file", "auth"), "account one: key auth: "),
        (GOOD.replace('key_file = "key"', ""), "account one: key key_file: "),
        (GOOD + GOOD, "account one: key name: another account has this name"),
        (GOOD + "created_after = 2026-01-31T00:00:00", "account one: key created_after: add"),
        (GOOD + "created_after = 1700000000000", "account one: key created_after: must be in sec"),
        (GOOD + "created_after = 'soon'", "account one: key created_after: "),
        (GOOD + "base_url = 'http://host/v1'", "account one: key base_url: must be https"),
        (GOOD + "base_url = 'https://user@host/v1'", "account one: key base_url: "),
        (GOOD + "base_url = 'https://host:port/'", "account one: key base_url: "),
        (GOOD + "base_url = 'https://host?a=b'", "account one: key base_url: "),
        (GOOD + "headers = { 'a b' = 'x' }", "account one: key headers: 'a b' is not"),
        (GOOD + "headers = { a = 'x\\ny' }".replace("'", '"'), "key headers.a: only printable"),
        (
            GOOD + "headers = { Content-Length = '1' }",
            "headers.Content-Length: this header belongs",
        ),
        (GOOD + "headers = { TRANSFER-ENCODING = 'x' }", "TRANSFER-ENCODING: this header belongs"),
        (GOOD + "header_files = { host = 'x' }", "key header_files.host: this header belongs"),
        (GOOD + "headers = { Connection = 'close' }", "headers.Connection: this header belongs"),
        (GOOD + "header_files = { authorization = 'x' }", "authorization: another key sets this"),
        (
            GOOD + "headers = { x-team = 'a' }\nheader_files = { X-Team = 'x' }",
            "key header_files.X-Team: another key sets this header",
        ),
        (GOOD + "headers = { x-api-key = 'x' }", "key headers.x-api-key: put a secret into a file"),
    ],
)
def test_errors_name_account_and_key(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake has a message with the account and the key."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(tmp_path, text)


def test_one_error_reports_every_account(tmp_path: Path) -> None:
    """All accounts are checked before the error is raised."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, GOOD + "a = 1\n" + GOOD.replace("one", "two") + "b = 1\n")
    assert [line.split(": ", 1)[1] for line in str(raised.value).splitlines()] == [
        "account one: key a: is not known",
        "account two: key b: is not known",
    ]


def test_a_missing_file(tmp_path: Path) -> None:
    """The error says why the file cannot be read."""
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file"):
        load_accounts(tmp_path / "no.toml")


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    """The key is a bearer token or the header api-key; other headers have files of their own."""
    (tmp_path / "key").write_text("sk-1\n")
    (tmp_path / "other").write_text("  abc ")
    text = GOOD + 'header_files = { x-gateway = "other" }\n'
    more = GOOD.replace("one", "two") + 'auth = "api-key"\n'
    more += GOOD.replace("one", "three").replace("openai", "tinker")
    bearer, azure, tinker = load(tmp_path, text + more)
    assert secret_headers(bearer) == {"x-gateway": "abc", "Authorization": "Bearer sk-1"}
    assert secret_headers(azure) == {"api-key": "sk-1"}
    assert secret_headers(tinker) == {"x-api-key": "sk-1"}


@pytest.mark.parametrize("content", [b"", b"\n", b"sk-1\nsk-2", "sk-ä".encode(), b"sk-\x00"])
def test_a_bad_secret_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    """The error names the file and no part of its content."""
    (tmp_path / "key").write_bytes(content)
    (account,) = load(tmp_path, GOOD)
    with pytest.raises(PassFailed, match=re.escape(str(tmp_path / "key"))) as raised:
        secret_headers(account)
    assert "sk-" not in str(raised.value)
