"""The configuration of the triggered listings: what is refused before anything is connected."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.cli.ingest_trigger import triggered_accounts
from consumer.errors import ConfigError
from consumer.sources.ingest_config import IngestConfig, StandardWebhook

ACCOUNTS = (
    '[[accounts]]\nname = "acme"\nkind = "openai"\nkey_file = "key"\n'
    '[[accounts]]\nname = "other"\nkind = "together"\nkey_file = "key"\n'
)


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    """Write a file of accounts."""
    path = tmp_path / "accounts.toml"
    path.write_text(ACCOUNTS)
    return path


def config(account: str, accounts_file: str = "") -> IngestConfig:
    """Return a configuration with two webhooks of an account."""
    webhook = StandardWebhook(secret_files=("/t",), account=account)
    return IngestConfig(webhooks={"a": webhook, "b": webhook}, accounts_file=accounts_file)


def test_the_accounts_of_the_webhooks(accounts: Path) -> None:
    """Each account is returned once; without the key `account` nothing is listed."""
    for found in (
        triggered_accounts(config("acme", str(accounts)), None),
        triggered_accounts(config("acme", "/missing"), accounts),
    ):
        assert [account.name for account in found] == ["acme"]
    assert triggered_accounts(config(""), None) == []


@pytest.mark.parametrize(
    ("account", "has_file", "message"),
    [
        ("acme", False, "webhooks.a: account needs accounts_file, or the option --accounts"),
        ("", True, "has no effect: no webhook has the key account"),
        ("acne", True, "accounts.toml has no account acne"),
        ("other", True, "account other has the kind together: only openai sends events"),
    ],
)
def test_mistakes_are_named(accounts: Path, account: str, *, has_file: bool, message: str) -> None:
    """The message names the file, or the webhook."""
    with pytest.raises(ConfigError) as raised:
        triggered_accounts(config(account), accounts if has_file else None)
    assert message in str(raised.value)


def ingest_without(
    module: str, parent: str, webhook: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Run the command without a package. It must end with the code of a wrong configuration."""
    monkeypatch.chdir(folder)
    for name in (module, *(one for one in sys.modules if one.startswith(f"{module}."))):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, parent, raising=False)
    (folder / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (folder / "public").write_text("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    text = f'[webhooks.a]\nkind = "standard-webhooks"\n{webhook}\n'
    (folder / "ingest.toml").write_text(text)
    options = ("--accounts", "accounts.toml") if "account" in webhook else ()
    assert main(["ingest", "--config", "ingest.toml", *options]) == 2


@pytest.mark.usefixtures("accounts")
def test_an_account_needs_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to install, before anything is connected."""
    webhook = 'secret_files = ["secret"]\naccount = "acme"'
    ingest_without("aiohttp", "consumer.sources.poll.http_client", webhook, monkeypatch, tmp_path)
    error = capsys.readouterr().err
    assert "a webhook with the key account needs the extra `sources`: pip install" in error


def test_a_public_key_needs_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to install, before anything is connected."""
    webhook = 'public_key_files = ["public"]'
    ingest_without("cryptography", "consumer.sources.ed25519", webhook, monkeypatch, tmp_path)
    error = capsys.readouterr().err
    assert "public_key_files need the extra `sources`: pip install" in error
