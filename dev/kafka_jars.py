"""Provides the jars of a Kafka broker. Maven downloads them once into the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_VERSION = "4.3.1"
# The newest patch releases of the lines that the service supports, newest first.
TESTED_VERSIONS = ("4.4.0", DEFAULT_VERSION, "3.9.2")
POM = Path(__file__).with_name("pom.xml")
DOWNLOAD_TIMEOUT_SECONDS = 900
ADVICE = (
    "`dev/ensure-java` as root installs them with apt-get; or run `docker compose up -d` and set"
    " KAFKA_BOOTSTRAP_SERVERS=localhost:9092"
)


class LocalKafkaError(Exception):
    """The local Kafka has failed. The message says why, and what the user can do."""


def kafka_version() -> str:
    """Return the version in KAFKA_VERSION, or the default version."""
    return os.environ.get("KAFKA_VERSION") or DEFAULT_VERSION


def cache_dir() -> Path:
    """Return the cache folder of the project. Create it if it does not exist."""
    root = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(root) if root else Path.home() / ".cache") / "checkpoint-ready"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def java_command() -> str:
    """Return the path of `java`. Raise LocalKafkaError if Java is missing."""
    java = shutil.which("java")
    if java is None:
        message = f"Java 17 or newer is missing: {ADVICE}"
        raise LocalKafkaError(message)
    return java


def kafka_jars(version: str) -> Path:
    """Return the folder with the jars of this version. Download them once.

    A lock prevents two downloads at the same time. The folder gets its name only when the download
    is complete, so a download that was killed leaves no incomplete folder.
    """
    fingerprint = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    folder = cache_dir() / f"kafka-{version}-{fingerprint}"
    if folder.is_dir():
        return folder
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not folder.is_dir():
            copy_jars(POM, folder, f"Apache Kafka {version}", {"kafka.version": version})
    return folder


def class_archive(jars: Path) -> Path:
    """Return the path of the archive of dev/kafka_archive.py for these jars and this Java."""
    java = Path(java_command()).resolve()
    fingerprint = hashlib.sha256(f"{java} {java.stat().st_mtime_ns}".encode()).hexdigest()[:8]
    return jars.with_name(f"{jars.name}-java-{fingerprint}.jsa")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file, so that only one process at a time fills the cache."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def copy_jars(pom: Path, folder: Path, what: str, properties: Mapping[str, str]) -> None:
    """Let Maven copy the dependencies of a project file to a new folder.

    Raises:
        LocalKafkaError: Maven is missing, or it failed.
    """
    maven = shutil.which("mvn")
    if maven is None:
        message = f"Maven (mvn), which downloads {what}, is missing: {ADVICE}"
        raise LocalKafkaError(message)
    print(f"Downloading {what} with Maven (once) …", file=sys.stderr, flush=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        result = subprocess.run(  # noqa: S603 - our own arguments
            [
                maven,
                "-q",
                "-B",
                "-f",
                str(pom),
                "dependency:copy-dependencies",
                *(f"-D{name}={value}" for name, value in properties.items()),
                f"-DoutputDirectory={unfinished}",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_SECONDS,
            check=False,
        )
        if result.returncode != 0 or not any(unfinished.glob("kafka*.jar")):
            message = f"Maven could not download {what}:\n{result.stdout[-2000:]}"
            raise LocalKafkaError(message)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
