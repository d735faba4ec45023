"""The content of a backfill's file: decompressed, readable several times, identified by a digest.

A backfill reads the data several times. So the data of a pipe, and decompressed data, are written
to a temporary file first. This finds a truncated or damaged compressed file before any record is
sent, and it keeps the memory use small.
"""

import errno
import gzip
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Final

import cramjam

from consumer.errors import CheckpointReadyError, ConfigError

STDIN: Final = "-"
DIGEST_BYTES: Final = 16
_CHUNK_BYTES: Final = 1024 * 1024
_GZIP: Final = re.compile(rb"\x1f\x8b")
# A zstd file starts with a frame of data or with a skippable frame (RFC 8878).
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
_MAGIC_BYTES: Final = 4
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Content:
    """The decompressed content of a file."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        """Compute the digest of the file; `name` is its name in messages."""
        self.name = name
        self.file = file
        self._size_and_mtime = _size_and_mtime(file)
        self._hasher = blake2b(digest_size=DIGEST_BYTES)
        for chunk in _chunks(name, self.rewound().read):
            self._hasher.update(chunk)

    @property
    def size_bytes(self) -> int:
        """The size of the content."""
        return self._size_and_mtime[0]

    def digest(self, topic: str) -> bytes:
        """Return the digest that identifies a backfill of this content to this topic."""
        hasher = self._hasher.copy()
        hasher.update(b"\0" + topic.encode())
        return hasher.digest()

    def rewound(self) -> IO[bytes]:
        """Return the file, positioned at its start."""
        self.file.seek(0)
        return self.file

    def require_unchanged(self) -> None:
        """Refuse to continue with a changed file: the journal has the digest of the old content.

        Raises:
            CheckpointReadyError: the file has changed since it was opened.
        """
        if _size_and_mtime(self.file) != self._size_and_mtime:
            raise CheckpointReadyError(
                f"{self.name} changed while it was read. Records that were sent before are not "
                "removed. A backfill of the changed file begins at its first element"
            )


@contextmanager
def open_content(path: str) -> Iterator[Content]:
    """Open a file, or standard input for ``-``; the first bytes identify gzip and zstd.

    Raises:
        ConfigError: the file does not exist or cannot be opened.
        CheckpointReadyError: the file cannot be read or decompressed to its end.
    """
    # A file name need not be UTF-8, but messages and the journal need text.
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    name = "standard input" if path == STDIN else shown
    with ExitStack() as stack:
        source = _stdin() if path == STDIN else stack.enter_context(_open(path))
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            source = _copy_to_temporary(stack, name, source.read)
        elif path == STDIN and source.tell():
            raise ConfigError("standard input is not at the start of its file")
        magic = source.read(_MAGIC_BYTES)
        source.seek(0)
        if _GZIP.match(magic):
            with gzip.GzipFile(fileobj=source) as decompressed:
                source = _copy_to_temporary(stack, name, decompressed.read)
        elif _ZSTD.match(magic):
            source = _decompress_zstd(stack, name, source)
        yield Content(name, source)


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    return sys.stdin.buffer


def _open(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise ConfigError(f"{path}: the file does not exist") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the file name
        raise ConfigError(f"{path} cannot be opened: {error}") from None


def _size_and_mtime(file: IO[bytes]) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _chunks(name: str, read: Callable[[int], bytes]) -> Iterator[bytes]:
    try:
        while chunk := read(_CHUNK_BYTES):
            yield chunk
    except EOFError:
        raise _damaged(name, "gzip", "it ends in the middle") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(name, "gzip", str(error)) from None
    except OSError as error:
        raise CheckpointReadyError(f"{name} cannot be read: {error}") from None


def _copy_to_temporary(stack: ExitStack, name: str, read: Callable[[int], bytes]) -> IO[bytes]:
    """Copy the data to a temporary file; return it, positioned at its start."""
    file = stack.enter_context(_temporary())
    for chunk in _chunks(name, read):
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise _no_space(error) from None
    file.seek(0)
    return file


def _decompress_zstd(stack: ExitStack, name: str, source: IO[bytes]) -> IO[bytes]:
    # The library opens both files again, with write access. The given file may be read-only, so
    # the compressed data are copied to a temporary file too.
    compressed = _copy_to_temporary(stack, name, source.read)
    file = stack.enter_context(_temporary())
    try:
        cramjam.zstd.decompress_into(_as_native(compressed), _as_native(file))
    except cramjam.DecompressionError as error:
        if "os error" in str(error):
            raise _no_space(error) from None
        raise _damaged(name, "zstd", str(error)) from None
    return file


def _as_native(file: IO[bytes]) -> cramjam.File:
    return cramjam.File(f"/dev/fd/{file.fileno()}", read=True, write=True, truncate=False)


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _no_space(error) from None
        raise CheckpointReadyError(
            f"a temporary file is needed but cannot be created ({error}); set TMPDIR to another "
            "directory"
        ) from None


def _no_space(error: Exception) -> CheckpointReadyError:
    return CheckpointReadyError(
        f"no space for the decompressed data in {tempfile.gettempdir()} ({error}); free some "
        "space or set TMPDIR to another directory"
    )


def _damaged(name: str, kind: str, what: str) -> CheckpointReadyError:
    return CheckpointReadyError(f"{name} is not a complete {kind} file: {what}; nothing was sent")
