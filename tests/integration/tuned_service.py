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
    changes = []
    for name, value in seconds.items():
        package, module, constant = name.split("__")
        changes.append(f"consumer.{package}.{module}:{constant}={value}")
    return [MODULE, *changes]


def main() -> int:
    """Change the constants and run the service."""
    for change in sys.argv[1:]:
        place, _, value = change.partition("=")
        module, _, name = place.partition(":")
        loaded = importlib.import_module(module)
        assert isinstance(getattr(loaded, name), float), place
        setattr(loaded, name, float(value))
    return run_command(["run"])


if __name__ == "__main__":
    sys.exit(main())
