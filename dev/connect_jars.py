"""Provides the jars of a Kafka Connect worker. Maven downloads them once into the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dev.kafka_jars import cache_dir, copy_jars, locked

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
