"""A broker that refuses the topic settings that managed services such as MSK Serverless refuse."""

from __future__ import annotations

from pathlib import Path

from dev.kafka import LocalKafka
from dev.kafka_jars import kafka_jars, kafka_version
from dev.toolchains import run, tool

SOURCES = Path(__file__).parents[1] / "policies"
POLICIES = {
    "create.topic.policy.class.name": "ManagedTopicPolicy",
    "alter.config.policy.class.name": "ManagedConfigPolicy",
}


def managed_kafka(folder: Path, **more: str) -> LocalKafka:
    """Return a broker with the policies, compiled into `folder`; `more` are broker settings.

    Raises:
        ToolchainError: the compiler of Java is missing, or it failed.
    """
    jars = kafka_jars(kafka_version())
    sources = map(str, sorted(SOURCES.glob("*.java")))
    options = ["-Xlint:all", "-Werror", "-d", str(folder)]
    # javac warns of annotations in Kafka's classes that are in other jars.
    run([tool("javac"), *options, "-Xlint:-classfile", "-cp", f"{jars}/*", *sources])
    return LocalKafka(properties={**POLICIES, **more}, class_path=[folder])
