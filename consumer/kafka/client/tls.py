"""A TLS context that loads renewed certificate files while the process runs."""

import os
import ssl
from typing import Final, Self

import msgspec
import structlog

from consumer.config import Settings
from consumer.errors import ConfigError

log = structlog.get_logger(__name__)

# Inode, modification time and size. At least one of them changes when a file is replaced, or when
# Kubernetes points the symbolic link to a new file.
Stamp = tuple[int, int, int] | None


class TlsFiles(msgspec.Struct, frozen=True):
    """The paths in SSL_CAFILE, SSL_CERTFILE and SSL_KEYFILE; empty if not set."""

    authorities: str
    certificate: str
    key: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the files that the settings name."""
        return cls(settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile)

    def load(self) -> ssl.SSLContext:
        """Read the files and return a context.

        Raises:
            OSError: a file cannot be read, it holds no certificate or key (ssl.SSLError), or the
                key is encrypted.
        """
        context = ssl.create_default_context(cafile=self.authorities or None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key, _refuse_to_ask)
        return context

    def stamps(self) -> tuple[Stamp, ...]:
        """Return a stamp of each file. It changes when the file changes."""
        return tuple(_stamp(path) for path in (self.authorities, self.certificate, self.key))


class RenewableContext(ssl.SSLContext):
    """The context of all clients of a process. Each new connection uses the current files.

    Open connections do not change. With a fixed context a process would keep the certificate that
    it loaded at its start, and could not connect after that certificate has expired.
    """

    def __new__(cls, files: TlsFiles) -> Self:  # noqa: ARG004 - for __init__
        """Return the outer context. Its connections use the context that the files gave last."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            ConfigError: a file cannot be used.
        """
        self._files: Final = files
        self._stamps = self._refused = files.stamps()
        try:
            self._current = files.load()
        except OSError as error:
            raise ConfigError(
                f"CHECKPOINT_READY_SSL_*: a certificate or key cannot be used: {error}"
            ) from None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature of the base class
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection; asyncio calls this for each one."""
        self._renew()
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _renew(self) -> None:
        stamps = self._files.stamps()
        if stamps == self._stamps:
            return
        try:
            self._current = self._files.load()
        except OSError as error:
            # A new file may be incomplete or not readable yet. The next connection tries again.
            if stamps != self._refused:
                log.error("tls_files_unusable", error=str(error))  # noqa: TRY400 - no traceback
            self._refused = stamps
        else:
            log.info("tls_files_renewed")
            self._stamps = stamps


def _refuse_to_ask() -> str:
    # OpenSSL would ask for the password at the terminal, which would block the whole process.
    raise OSError("the key is encrypted, and the service has no password for it: decrypt it")


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path would be made for every connection
    except OSError:  # the path is not set, or the file is being replaced
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
