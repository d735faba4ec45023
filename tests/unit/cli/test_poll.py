"""The command `poll` without its extra."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from consumer.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is listed and parsed without it, and nothing is connected."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "consumer.sources.poll.http_client", raising=False)
    accounts = tmp_path / "accounts.toml"
    accounts.write_text('[[accounts]]\nname = "a"\nkind = "openai"\nkey_file = "key"\n')
    assert main(["poll", "--config", str(accounts)]) == 2
    assert "pip install 'checkpoint-ready[sources]' (aiohttp" in capsys.readouterr().err
