"""TLS with files that change: a new connection uses the certificate that is there now."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

from consumer.errors import ConfigError
from consumer.kafka.client.tls import RenewableContext, TlsFiles
from tests.certificates import Authority, Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"


class Asking(socketserver.BaseRequestHandler):
    """Sends to each client the name in the certificate that it used."""

    server: Server

    def handle(self) -> None:
        """Answer one."""
        with (
            contextlib.suppress(OSError),  # it does not trust the server
            self.server.context.wrap_socket(self.request, server_side=True) as secured,
        ):
            certificate: Any = secured.getpeercert()
            subject = dict(name for (name,) in certificate["subject"])
            secured.sendall(str(subject["commonName"]).encode())


class Server(socketserver.ThreadingTCPServer):
    """Wants a certificate of an authority; its end waits for what it has begun."""

    def __init__(self, authority: Authority) -> None:
        """Listen."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*authority.certify("server"))
        self.context.load_verify_locations(authority.file)
        self.context.verify_mode = ssl.CERT_REQUIRED
        super().__init__((HOST, 0), Asking)


@contextmanager
def asking_who_comes(authority: Authority) -> Iterator[int]:
    """Serve in a thread of its own; the port."""
    with Server(authority) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


async def name_shown(port: int, context: ssl.SSLContext) -> str:
    """Connect and return the name in the client certificate that the server received."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def put(certificate: Certificate, files: TlsFiles) -> None:
    """Put a certificate and its key where a process has them from, at once as Kubernetes does."""
    certificate.chain.replace(files.certificate)
    certificate.key.replace(files.key)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Sign certificates."""
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    """Where a process has its own from: of the name `first`, to begin with."""
    files = TlsFiles(str(authority.file), str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    put(authority.certify("first"), files)
    return files


@pytest.fixture(autouse=True)
def _own_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log by a new logger: the module's keeps what another test first configured it with."""
    monkeypatch.setattr("consumer.kafka.client.tls.log", structlog.get_logger())


async def test_a_renewed_certificate_is_shown_from_then_on(
    authority: Authority, files: TlsFiles
) -> None:
    """By the same context that every client of the process has."""
    context = RenewableContext(files)
    with asking_who_comes(authority) as port:
        assert await name_shown(port, context) == "first"
        put(authority.certify("second"), files)
        with capture_logs() as lines:
            assert await name_shown(port, context) == "second"
            assert await name_shown(port, context) == "second"
    assert [line["event"] for line in lines] == ["tls_files_renewed"]


async def test_a_renewed_authority_is_trusted(
    authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    """Of the server too, and the former one no more."""
    (tmp_path / "next").mkdir()
    other = Authority(tmp_path / "next", "next")
    context = RenewableContext(files)
    with asking_who_comes(authority) as former, asking_who_comes(other) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await name_shown(port, context)
        put(other.certify("ours"), files)
        other.file.replace(files.authorities)
        assert await name_shown(port, context) == "ours"
        with pytest.raises(ssl.SSLCertVerificationError):
            await name_shown(former, context)


@pytest.mark.parametrize("broken", ["rubbish", "another's key", "encrypted", "nothing"])
async def test_what_cannot_be_used_leaves_the_former_one(
    authority: Authority, files: TlsFiles, tmp_path: Path, broken: str
) -> None:
    """Said once, and once more when it is mended."""
    context = RenewableContext(files)
    key = tmp_path / "tls.key"
    with asking_who_comes(authority) as port:
        if broken == "rubbish":
            key.write_text("-----BEGIN")
        elif broken == "another's key":
            authority.certify("another").key.replace(key)
        elif broken == "encrypted":
            authority.encrypt(key)
        else:
            key.unlink()
        with capture_logs() as lines:
            assert await name_shown(port, context) == "first"
            assert await name_shown(port, context) == "first"
            put(authority.certify("second"), files)
            assert await name_shown(port, context) == "second"
    assert [line["event"] for line in lines] == ["tls_files_unusable", "tls_files_renewed"]


async def test_what_becomes_readable_is_taken(
    authority: Authority, files: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a file changes but who may read it, which its stamp does not say."""
    context = RenewableContext(files)
    put(authority.certify("second"), files)
    load = TlsFiles.load

    def forbid(_: TlsFiles) -> ssl.SSLContext:
        raise PermissionError(13, "Permission denied", str(tmp_path / "tls.key"))

    with asking_who_comes(authority) as port:
        monkeypatch.setattr(TlsFiles, "load", forbid)  # the tests may run as root
        with capture_logs() as lines:
            assert await name_shown(port, context) == "first"
            assert await name_shown(port, context) == "first"
            monkeypatch.setattr(TlsFiles, "load", load)
            assert await name_shown(port, context) == "second"
    assert [line["event"] for line in lines] == ["tls_files_unusable", "tls_files_renewed"]


def test_an_encrypted_key_is_refused_in_words(
    authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    """Instead of a question at a terminal that there may be."""
    authority.encrypt(tmp_path / "tls.key")
    with pytest.raises(ConfigError, match="the key is encrypted"):
        RenewableContext(files)


def test_files_that_cannot_be_used_at_the_start_end_it(files: TlsFiles, tmp_path: Path) -> None:
    """With the variables in the error."""
    (tmp_path / "tls.crt").write_text("rubbish")
    with pytest.raises(ConfigError, match="CHECKPOINT_READY_SSL_"):
        RenewableContext(files)
