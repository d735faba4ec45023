"""Secrets in files: several at once, read again when a file changes."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
import structlog

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


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    """Editors of Windows write one. Joined files have several."""
    path = tmp_path / "secret"
    mark = b"\xef\xbb\xbf"
    path.write_bytes(mark + NEW + b"\r\n" + mark + OLD)
    assert SecretFiles([str(path)]).current() == (NEW, OLD)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """A pipe without a writer would block the event loop, and with it all requests."""
    path, other = tmp_path / "secret", tmp_path / "other"
    path.write_bytes(OLD)
    files = SecretFiles([str(path)])
    if kind == "pipe":
        os.mkfifo(other)
    elif kind == "device":
        other.symlink_to("/dev/zero")
    else:
        path.unlink()
        other.mkdir()
    other.replace(path)
    with structlog.testing.capture_logs() as logs:
        assert files.current() == (OLD,)
    assert [log["event"] for log in logs] == ["secret_files_unusable"]
    with pytest.raises(ConfigError, match=r"Is a directory|is no regular file"):
        SecretFiles([str(path)])
    path.rmdir() if kind == "folder" else path.unlink()
    path.write_bytes(NEW)
    assert files.current() == (NEW,)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\n",
        b"short",
        b"x" * 100_000,
        NEW.decode().encode("utf-16"),
        NEW.decode().encode("utf-16-le"),
        NEW.decode().encode("utf-16-be"),
    ],
)
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
