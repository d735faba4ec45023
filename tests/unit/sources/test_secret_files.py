"""Secrets in files: several at once, read again when a file changes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from consumer.errors import ConfigError
from consumer.sources.authentication import parse_standard_secret
from consumer.sources.secret_files import SecretFiles

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = b"the-old-secret-0123456789", b"the-new-secret-0123456789"


def replace(path: Path, content: bytes) -> None:
    """Replace a file in one step, as Kubernetes does."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    other.replace(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A rotation needs no restart."""
    path = tmp_path / "secret"
    path.write_bytes(OLD)
    files = SecretFiles([str(path)])
    assert files.current() == (OLD,)
    replace(path, NEW + b"\r\n\n" + OLD + b"\n")
    assert files.current() == (NEW, OLD)
    replace(path, NEW)
    assert files.current() == (NEW,)


@pytest.mark.parametrize("broken", [b"", b"\n", b"short", b"x" * 100_000])
def test_an_unusable_change_keeps_the_secrets(tmp_path: Path, broken: bytes) -> None:
    """The file may be incomplete. The next complete one counts."""
    path = tmp_path / "secret"
    path.write_bytes(OLD)
    files = SecretFiles([str(path)])
    replace(path, broken)
    assert files.current() == (OLD,)
    path.unlink()
    assert files.current() == (OLD,)
    replace(path, NEW)
    assert files.current() == (NEW,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_!!", "secret 2: it is not base64"),
        (b"whsec_AAAA", "secret 1: it has fewer than 16 bytes"),
    ],
)
def test_an_unusable_file_at_the_start_is_an_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """The message names the file, the secret and the problem, but never the secret."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        SecretFiles([str(path)], parse_standard_secret)
    assert str(path) in str(raised.value)
    assert "whsec_!!" not in str(raised.value)
