"""Provides the jars of a Kafka Connect worker. Maven downloads them once into the cache.

`python -m dev.connect_jars` downloads them, so that no test waits for the download.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from dev.kafka_jars import LocalKafkaError, cache_dir, copy_jars, kafka_version, locked

POM = Path(__file__).with_name("connect-pom.xml")


def connect_jars(version: str) -> Path:
    """Return the folder with the jars of a worker of this Kafka version. Download them once.

    Raises:
        LocalKafkaError: Maven is missing, or it failed.
    """
    fingerprint = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    folder = cache_dir() / f"connect-{version}-{fingerprint}"
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not folder.is_dir():
            copy_jars(POM, folder, f"Kafka Connect {version}", {"kafka.version": version})
    return folder


if __name__ == "__main__":
    try:
        connect_jars(kafka_version())
    except LocalKafkaError as error:
        sys.exit(f"checkpoint-ready: {error}")
