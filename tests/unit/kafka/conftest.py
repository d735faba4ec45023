"""Runs tests of record batches with the C module, and with the library in its place."""

import importlib
from collections.abc import Iterator

import pytest

from consumer.kafka.client import compiled

MODULE = "consumer.kafka.client._compiled"


@pytest.fixture(params=["c", "library"])
def batch_code(request: pytest.FixtureRequest) -> Iterator[str]:
    """What reads and builds batches in this test."""
    module = importlib.import_module(MODULE)
    compiled.use(module if request.param == "c" else None)
    try:
        yield request.param
    finally:
        compiled.use(module)
