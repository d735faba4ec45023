"""Opening a backfill's file: compressed or not, complete or not, by name or standard input."""

import gzip
import io
import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cramjam
import pytest

from consumer.errors import CheckpointReadyError, ConfigError
from consumer.jobs.backfill.file import open_content

TEXT = b"".join(b"line %d \xc3\xa9\n" % number for number in range(50_000))
SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab"


def zstd(text: bytes) -> bytes:
    """Return the compressed text."""
    return bytes(cramjam.zstd.compress(text))


PACKED = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "gzip in two members": gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
    "zstd": zstd(TEXT),
    "zstd in two frames": SKIPPABLE_FRAME + zstd(TEXT[:1000]) + zstd(TEXT[1000:]),
}


def written(folder: Path, content: bytes) -> str:
    """Return the path of a read-only file."""
    path = folder / "file"
    path.write_bytes(content)
    path.chmod(0o400)
    return str(path)


def read(path: str) -> tuple[bytes, bytes]:
    """Return the content of a file and its digest."""
    with open_content(path) as content:
        text = content.rewound().read()
        assert content.rewound().read() == text
        assert content.size_bytes == len(text)
        return text, content.digest("topic")


@contextmanager
def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[None]:
    """Let standard input be a pipe with this content."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(pipe))
        yield
    os.waitpid(child, 0)


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED.keys())
def test_content(tmp_path: Path, packed: bytes) -> None:
    """Every form gives the same text and the same digest, each time."""
    assert read(written(tmp_path, packed)) == read(written(tmp_path.parent, TEXT))


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """A pipe gives the same as a file, so a resumed backfill may use a pipe."""
    with standard_input(monkeypatch, PACKED[kind]):
        assert read("-") == read(written(tmp_path, TEXT))


def test_a_digest_is_of_content_and_target(tmp_path: Path) -> None:
    """Another target topic or another byte gives another digest."""
    digests = set()
    for text in (TEXT, TEXT + b" ", b""):
        path = tmp_path / str(len(text))
        path.write_bytes(text)
        with open_content(str(path)) as content:
            digests |= {content.digest("one"), content.digest("other")}
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("packed", "complaint"),
    [
        (PACKED["gzip"][:-200], "is not a complete gzip file: it ends in the middle"),
        (PACKED["gzip"][:-4] + b"\0\0\0\0", "is not a complete gzip file: Incorrect length"),
        (PACKED["gzip"][:500] + bytes(9) + PACKED["gzip"][509:], "is not a complete gzip file"),
        (PACKED["gzip"] + b"rubbish", "is not a complete gzip file"),
        (PACKED["zstd"][:-200], "is not a complete zstd file: incomplete frame"),
        (PACKED["zstd"][:6] + b"\xff" * 9 + PACKED["zstd"][15:], "is not a complete zstd file"),
        (PACKED["zstd"] + b"rubbish", "is not a complete zstd file"),
    ],
)
def test_opening_detects_damage(tmp_path: Path, packed: bytes, complaint: str) -> None:
    """A truncated or damaged archive is refused."""
    with pytest.raises(CheckpointReadyError, match=complaint):
        read(written(tmp_path, packed))


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    """A path without a readable file is wrong usage."""
    for path, complaint in (
        (tmp_path / "none", "the file does not exist"),
        (tmp_path, "is a directory, not a file"),
        (Path(written(tmp_path, b"")) / "x", "cannot be opened"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            read(str(path))


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to set the directory; an uncompressed file needs no temporary file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(CheckpointReadyError, match="set TMPDIR to another directory"):
        read(written(tmp_path, PACKED["gzip"]))
    assert read(written(tmp_path.parent, TEXT))[0] == TEXT


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_no_space(tmp_path: Path, kind: str) -> None:
    """Decompressed data that do not fit are an error, not a shorter file."""
    path = written(tmp_path, PACKED[kind])
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, allowed[1]))
        with pytest.raises(CheckpointReadyError, match="no space for the decompressed data"):
            read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_file_that_changes(tmp_path: Path) -> None:
    """The reader detects that another program has changed the file."""
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    with open_content(str(path)) as content:
        content.require_unchanged()
        with path.open("ab") as file:
            file.write(b"more\n")
        with pytest.raises(CheckpointReadyError, match="changed while it was read"):
            content.require_unchanged()
