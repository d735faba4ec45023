"""The size of a record, against the client's own batch builder."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumer.pipeline.record_size import batch_bytes, safe_size
from consumer.pipeline.records import Header


@pytest.mark.parametrize("length", [0, 1, 63, 64, 127, 128, 8191, 8192, 200_000])
@pytest.mark.parametrize("key", [None, b"", b"k" * 64])
def test_size_is_what_the_client_writes(length: int, key: bytes | None) -> None:
    """The computed size is the length of the batch that the client builds."""
    headers: list[Header] = [("ünïcode", b"v" * (length // 2)), ("none", None), ("", b"")]
    builder = DefaultRecordBatchBuilder(2, 0, 1, -1, -1, -1, 10**7)
    builder.append(0, 1_700_000_000_000, key, b"v" * length, headers)
    assert batch_bytes(key, b"v" * length, headers) == len(builder.build())


@pytest.mark.parametrize("limit", range(200, 20_000, 97))
def test_a_record_of_the_safe_size_fits(limit: int) -> None:
    """A key and value of the size of `safe_size` fit the limit."""
    headers: list[Header] = [("content-type", b"application/json")]
    room = safe_size(headers, limit)
    assert batch_bytes(b"k" * (room // 3), b"v" * (room - room // 3), headers) <= limit
