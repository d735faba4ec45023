"""Runs tests of record batches with the C module, and with the library in its place."""

import importlib
from collections.abc import Iterator

import pytest

from consumer.kafka.client import partition_batches, regular_records

MODULE = "consumer.kafka.client._batch_builder"


@pytest.fixture(params=["c", "library"])
def batch_code(request: pytest.FixtureRequest) -> Iterator[str]:
    """What reads and builds batches in this test."""
    module = importlib.import_module(MODULE)
    reader = regular_records.compiled_reader
    if request.param == "library":
        partition_batches.use(None)
        regular_records.compiled_reader = None
    try:
        yield request.param
    finally:
        partition_batches.use(module)
        regular_records.compiled_reader = reader
