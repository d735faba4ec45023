"""How the examples in Python are started, with their packages in an environment of their own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from dev.toolchains import python_environment
from tests.examples.harness import Example

SUBSCRIBERS: Final = Path(__file__).parents[2] / "examples" / "subscribers"
FOLDER: Final = SUBSCRIBERS / "python"


@cache
def example_python() -> Path:
    """Return the Python that has the packages of the examples."""
    return python_environment(FOLDER / "requirements.txt")


def python_example(module: str) -> Example:
    """Return one of the subscribers in Python."""
    command = (str(example_python()), f"{module}.py")
    return Example(module, command, {"MLFLOW_DISABLE_TELEMETRY": "true"}, FOLDER)
