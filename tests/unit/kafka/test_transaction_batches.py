"""The transaction_batches: batches of one transaction."""

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.client.transaction_batches import NO_TIMESTAMP_MS, TransactionBatches
from consumer.kafka.types import TopicPartition

pytestmark = pytest.mark.usefixtures("batch_code")

LIMIT = 2000
payloads = st.one_of(st.none(), st.binary(max_size=900))
headers = st.lists(st.tuples(st.text(max_size=5), payloads), max_size=2)


@given(st.lists(st.tuples(st.integers(0, 1), payloads, payloads, headers), max_size=30))
def test_every_record_comes_out_once_in_order(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
) -> None:
    """Batches split where the limit asks for it and lose, repeat and reorder nothing."""
    transaction_batches = TransactionBatches({"t": LIMIT})
    for partition, key, value, extra in records:
        transaction_batches.to("t", partition).append(key, value, extra)
    finished = transaction_batches.finish()
    for partition in {record[0] for record in records}:
        batches = finished[TopicPartition("t", partition)]
        expected = [record[1:] for record in records if record[0] == partition]
        read = []
        for batch in batches:
            assert batch.size() <= LIMIT or batch.record_count() == 1
            found = list(MemoryRecords(bytes(batch._build())).next_batch())  # noqa: SLF001
            assert [record.offset for record in found] == list(range(batch.record_count()))
            read += [(record.key, record.value, list(record.headers)) for record in found]
        assert read == expected


def test_records_of_our_own_state_have_no_timestamp() -> None:
    """Brokers refuse records that are stamped ahead of their clock; this machine's may be wrong."""
    transaction_batches = TransactionBatches({"state": LIMIT, "t": LIMIT}, unstamped={"state"})
    for topic in ("state", "t"):
        transaction_batches.to(topic, 0).append(b"k", b"v")
    stamps = {}
    for (topic, _), (batch,) in transaction_batches.finish().items():
        (record,) = MemoryRecords(bytes(batch._build())).next_batch()  # noqa: SLF001
        stamps[topic] = record.timestamp
    assert stamps["state"] == NO_TIMESTAMP_MS
    assert stamps["t"] > 0
