"""What every unit test has."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _default_logs() -> Iterator[None]:
    """Undo what a command has set of the logs: some silence them, for the rest of the process."""
    yield
    structlog.reset_defaults()
