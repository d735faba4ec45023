"""Certificates of an authority of the tests' own, made by OpenSSL's command."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
EXTENSIONS = "subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"


class Certificate(NamedTuple):
    """What somebody shows, and the key of it."""

    chain: Path
    key: Path


class Authority:
    """Signs certificates for this host, in a folder; its own is `file`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        """Make its key."""
        self._folder = folder
        self._name = name
        self.file = folder / f"{name}.pem"
        self._openssl(
            f"req -x509 {NEW_KEY} -keyout {name}.key -out {name}.pem -days 2 "
            f"-subj /CN={name} -addext keyUsage=critical,keyCertSign"
        )

    def certify(self, name: str) -> Certificate:
        """Sign a new certificate for somebody."""
        (self._folder / "extensions").write_text(EXTENSIONS)
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request = f"{name}.request"
        self._openssl(f"req {NEW_KEY} -keyout {made.key.name} -out {request} -subj /CN={name}")
        self._openssl(
            f"x509 -req -in {request} -CA {self._name}.pem -CAkey {self._name}.key -CAcreateserial "
            f"-out {made.chain.name} -days 2 -extfile extensions"
        )
        return made

    def encrypt(self, key: Path) -> None:
        """Put a password on a key that lies in the folder."""
        self._openssl(f"pkey -in {key.name} -out encrypted.key -aes256 -passout pass:secret")
        (self._folder / "encrypted.key").replace(key)

    def _openssl(self, command: str) -> None:
        run_openssl(self._folder, command)


def run_openssl(folder: Path, command: str) -> None:
    """Run OpenSSL's command in a folder."""
    done = subprocess.run(
        ["openssl", *command.split()], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
