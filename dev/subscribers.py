"""Builds the example subscribers in Go, Java and TypeScript.

`python -m dev.subscribers` builds all. `make test` does this before the tests, so that it does not
count as a slow test.
"""

import sys
from pathlib import Path
from typing import Final

from dev.kafka_jars import LocalKafkaError, java_command
from dev.programs import go_program, java_program, typescript_program
from dev.toolchains import ToolchainError, tool

FOLDER: Final = Path(__file__).parent.parent / "examples" / "subscribers"
# The program runs for seconds: it does not need the optimizing compiler.
QUICK_START: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
NATIVE_PACKAGE: Final = "@confluentinc/kafka-javascript"


def go_subscriber() -> tuple[str, ...]:
    """Return the command of the subscriber in Go.

    Raises:
        ToolchainError: it could not be built.
    """
    return (str(go_program(FOLDER / "go")),)


def java_subscriber() -> tuple[str, ...]:
    """Return the command of the subscriber in Java.

    Raises:
        ToolchainError: it could not be compiled.
        LocalKafkaError: Java or Maven is missing, or Maven failed.
    """
    folder = FOLDER / "java"
    sources = folder.glob("src/main/java/**/*.java")
    program = java_program("java-subscriber", folder / "pom.xml", sources)
    class_path = f"{program.class_path}:{folder / 'src' / 'main' / 'resources'}"
    return (java_command(), *QUICK_START, "-cp", class_path, "subscriber.Subscriber")


def typescript_subscriber() -> tuple[str, ...]:
    """Return the command of the subscriber in TypeScript.

    Raises:
        ToolchainError: it could not be built.
    """
    folder = typescript_program(FOLDER / "typescript", NATIVE_PACKAGE)
    return (tool("node"), str(folder / "dist" / "subscriber.js"))


def main() -> int:
    """Build all, and return the exit code."""
    try:
        for build in (go_subscriber, java_subscriber, typescript_subscriber):
            build()
    except (ToolchainError, LocalKafkaError) as error:
        print(f"checkpoint-ready: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
