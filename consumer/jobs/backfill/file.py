"""The content of a backfill's file: unpacked, to be read several times, known by a digest.

What cannot be read twice where it lies, a pipe or compressed data, is laid into a temporary file
first. So a cut or damaged archive is noticed before anything is sent, and memory holds little.
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
# A frame, or a skippable one, which some tools write first (RFC 8878).
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
_MAGIC_BYTES: Final = 4
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Content:
    """What a file holds, unpacked."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        """Take over a file that can be read again and again; `name` is what people call it."""
        self.name = name
        self.file = file
        self._stamp = _stamp(file)
        self._hasher = blake2b(digest_size=DIGEST_BYTES)
        for chunk in _chunks(name, self.rewound().read):
            self._hasher.update(chunk)

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return self._stamp[0]

    def digest(self, target: str) -> bytes:
        """Return what this content is known by when it goes to `target`."""
        hasher = self._hasher.copy()
        hasher.update(b"\0" + target.encode())
        return hasher.digest()

    def rewound(self) -> IO[bytes]:
        """Return the file at its start."""
        self.file.seek(0)
        return self.file

    def require_unchanged(self) -> None:
        """Refuse to go on with a file that somebody writes to: its digest tells another content.

        Raises:
            CheckpointReadyError: it has changed since it was opened.
        """
        if _stamp(self.file) != self._stamp:
            raise CheckpointReadyError(
                f"{self.name} has changed while it was read; what was sent until then stays, and "
                "the changed file is another backfill, which begins anew"
            )


@contextmanager
def open_content(path: str) -> Iterator[Content]:
    """Open a file, or standard input for ``-``; gzip and zstd are told by their first bytes.

    Raises:
        ConfigError: there is no such file.
        CheckpointReadyError: it cannot be read or unpacked to its end.
    """
    # A name need not be UTF-8, but it is shown, and stands in the journal.
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    name = "standard input" if path == STDIN else shown
    with ExitStack() as stack:
        source = _stdin() if path == STDIN else stack.enter_context(_open(path))
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            source = _lay_out(stack, name, source.read)
        elif path == STDIN and source.tell():
            raise ConfigError("standard input stands in the middle of a file")
        magic = source.read(_MAGIC_BYTES)
        source.seek(0)
        if _GZIP.match(magic):
            with gzip.GzipFile(fileobj=source) as unzipped:
                source = _lay_out(stack, name, unzipped.read)
        elif _ZSTD.match(magic):
            source = _unpack_zstd(stack, name, source)
        yield Content(name, source)


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    return sys.stdin.buffer


def _open(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in its name
        raise ConfigError(f"{path} cannot be opened: {error}") from None


def _stamp(file: IO[bytes]) -> tuple[int, int]:
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


def _lay_out(stack: ExitStack, name: str, read: Callable[[int], bytes]) -> IO[bytes]:
    """Copy what is read into a temporary file, and return that at its start."""
    file = stack.enter_context(_temporary())
    for chunk in _chunks(name, read):
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise _no_room(error) from None
    file.seek(0)
    return file


def _unpack_zstd(stack: ExitStack, name: str, source: IO[bytes]) -> IO[bytes]:
    # The library streams only between files of its own, which it opens for writing, so the packed
    # data are laid out too: the file given may be read-only.
    packed = _lay_out(stack, name, source.read)
    file = stack.enter_context(_temporary())
    try:
        cramjam.zstd.decompress_into(_as_native(packed), _as_native(file))
    except cramjam.DecompressionError as error:
        if "os error" in str(error):
            raise _no_room(error) from None
        raise _damaged(name, "zstd", str(error)) from None
    return file


def _as_native(file: IO[bytes]) -> cramjam.File:
    return cramjam.File(f"/dev/fd/{file.fileno()}", read=True, write=True, truncate=False)


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(error) from None
        raise CheckpointReadyError(
            f"a temporary file is needed and cannot be made ({error}); name a folder in TMPDIR"
        ) from None


def _no_room(error: Exception) -> CheckpointReadyError:
    return CheckpointReadyError(
        f"there is no room for the unpacked data in {tempfile.gettempdir()} ({error}); free some, "
        "or name another folder in TMPDIR"
    )


def _damaged(name: str, kind: str, what: str) -> CheckpointReadyError:
    return CheckpointReadyError(f"{name} is no whole {kind} file: {what}; nothing was sent")
