"""Secrets in files, one in each line. The files are read again when they change.

Several secrets are valid at the same time, so that a secret can be rotated: add the new one, let
the senders change, remove the old one. Kubernetes replaces the files of a mounted Secret while the
process runs.
"""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from consumer.errors import ConfigError

MIN_SECRET_BYTES: Final = 16
MAX_FILE_BYTES: Final = 64 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_Stamp = tuple[int, int, int] | None
log = structlog.get_logger(__name__)


class SecretFiles:
    """The secrets in some files, as bytes. It never shows them in a text."""

    def __init__(self, paths: Sequence[str], parse: Callable[[bytes], bytes] = bytes) -> None:
        """Read the files. `parse` turns a line into a secret, or raises ValueError.

        Raises:
            ConfigError: a file cannot be read, or holds no secret or an invalid one.
        """
        self._paths = tuple(map(Path, paths))
        self._names = tuple(map(str, self._paths))
        self._parse = parse
        self._stamps = self._refused = self._current_stamps()
        try:
            self._secrets = self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"a secret cannot be used: {_reason(error)}") from None

    def current(self) -> tuple[bytes, ...]:
        """Return the secrets. If a changed file cannot be used, return the secrets before it."""
        stamps = self._current_stamps()
        if stamps != self._stamps:
            try:
                self._secrets = self._read()
            except (OSError, ValueError) as error:
                # A new file may be incomplete. The next request tries again.
                if stamps != self._refused:
                    log.error("secret_files_unusable", error=_reason(error))  # noqa: TRY400 - no traceback
                self._refused = stamps
            else:
                log.info("secret_files_renewed", files=[str(path) for path in self._paths])
                self._stamps = stamps
        return self._secrets

    def _read(self) -> tuple[bytes, ...]:
        return tuple(secret for path in self._paths for secret in self._read_file(path))

    def _read_file(self, path: Path) -> list[bytes]:
        text = _read_regular(path)
        if len(text) > MAX_FILE_BYTES:
            raise ValueError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        if text.startswith(_UTF_16_MARKS) or b"\0" in text:
            raise ValueError(f"{path} is not UTF-8 text, perhaps UTF-16: save it as UTF-8")
        # Several files that were joined may have several marks.
        text = text.replace(_BYTE_ORDER_MARK, b"")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"{path} is empty")
        secrets = []
        for number, line in enumerate(lines, 1):
            try:
                secret = self._parse(line)
            except ValueError as error:
                raise ValueError(f"{path}, secret {number}: {error}") from None
            if len(secret) < MIN_SECRET_BYTES:
                raise ValueError(
                    f"{path}, secret {number}: it has fewer than {MIN_SECRET_BYTES} bytes"
                )
            secrets.append(secret)
        return secrets

    def _current_stamps(self) -> tuple[_Stamp, ...]:
        return tuple(map(_stamp, self._names))


def _read_regular(path: Path) -> bytes:
    """Return the content, up to one byte more than the limit.

    The event loop reads files. A pipe or a device without data would block it, also at the opening.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it has no path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is no regular file")
        return file.read(MAX_FILE_BYTES + 1)


def _reason(error: OSError | ValueError) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _stamp(name: str) -> _Stamp:
    try:
        found = os.stat(name)  # noqa: PTH116 - each request does it, and `Path.stat` takes longer
    except OSError:  # the file is being replaced
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
