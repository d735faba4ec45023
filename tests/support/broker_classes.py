"""Compiles classes of Java that a broker of a test loads."""

from __future__ import annotations

from pathlib import Path

from dev.kafka_jars import kafka_jars, kafka_version
from dev.toolchains import run, tool

TESTS = Path(__file__).parents[1]


def compiled(package: str, folder: Path) -> Path:
    """Compile the sources of a folder in `tests` into `folder`, and return `folder`.

    Raises:
        ToolchainError: the compiler of Java is missing, or it failed.
    """
    sources = map(str, sorted((TESTS / package).glob("*.java")))
    # javac warns of annotations in Kafka's classes that are in other jars.
    options = ["-Xlint:all", "-Werror", "-Xlint:-classfile", "-d", str(folder)]
    run([tool("javac"), *options, "-cp", f"{kafka_jars(kafka_version())}/*", *sources])
    return folder
