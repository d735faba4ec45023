"""Errors of a backfill before anything is connected, and their exit codes."""

import gzip
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.config import PREFIX


@pytest.mark.parametrize(
    ("file", "options", "code", "complaint"),
    [
        ("none", (), 2, "none: the file does not exist"),
        (".", (), 2, "is a directory, not a file"),
        ("cut.gz", (), 1, "is not a complete gzip file: it ends in the middle; nothing was sent"),
        ("file", ("--topic", "three"), 2, "three is not one of CHECKPOINT_READY_INPUT_TOPICS"),
        ("file", (), 2, "there are several input topics; choose one with --topic: one, two"),
    ],
)
def test_errors_have_one_line(  # noqa: PLR0913, PLR0917 - a case has four parts
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    options: tuple[str, ...],
    code: int,
    complaint: str,
) -> None:
    """Wrong usage has exit code 2 and an unreadable file 1; no broker is needed."""
    (tmp_path / "file").write_bytes(b"{}\n")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"{}\n")[:-3])
    monkeypatch.setenv(f"{PREFIX}INPUT_TOPICS", "one,two" if file == "file" else "one")
    monkeypatch.setenv(f"{PREFIX}BOOTSTRAP_SERVERS", "localhost:1")
    assert main(["backfill", str(tmp_path / file), "--execute", *options]) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert complaint in written.err
    assert len(written.err.splitlines()) == 1
