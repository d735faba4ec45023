"""The service with other values of constants that are not settings: intervals and ages.

python -m tests.integration.tuned_service consumer.kafka.held_back:WARN_AFTER_SECONDS=0.5 …
"""

from __future__ import annotations

import importlib
import sys

from consumer.cli import main as run_command

MODULE = "tests.integration.tuned_service"


def tuned(**seconds: float) -> list[str]:
    """Return the command for a `ServiceProcess`; a name is `package__module__CONSTANT`."""
    return [MODULE, *changes_of(**seconds)]


def changes_of(**seconds: float) -> list[str]:
    """Return the arguments that change these constants."""
    changes = []
    for name, value in seconds.items():
        package, module, constant = name.split("__")
        changes.append(f"consumer.{package}.{module}:{constant}={value}")
    return changes


def change_constants(changes: list[str]) -> None:
    """Change the constants that the arguments name."""
    for change in changes:
        place, _, value = change.partition("=")
        module, _, name = place.partition(":")
        loaded = importlib.import_module(module)
        assert isinstance(getattr(loaded, name), float), place
        setattr(loaded, name, float(value))


def main() -> int:
    """Change the constants and run the service."""
    change_constants(sys.argv[1:])
    return run_command(["run"])


if __name__ == "__main__":
    sys.exit(main())
