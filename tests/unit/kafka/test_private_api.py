"""The private parts of aiokafka that the service uses, all in ``private_api``.

A release of aiokafka that changes one fails here, and so does a module that touches another one.
"""

import ast
import importlib.metadata
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.producer import message_accumulator, sender, transaction_manager
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Bytes, Schema
from aiokafka.record.default_records import DefaultRecordBatch

from consumer.kafka.client import regular_records, writer
from consumer.kafka.client.fetched import FetchedBytes, FetchedPartition
from consumer.kafka.client.private_api import (
    BoundedFetchResult,
    FetchedPartitionBase,
    OpenBatch,
    encode_in_parts,
)
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.types import TopicPartition
from tests.batches.build import batch
from tests.batches.judge import read_here

COMPILED = "aiokafka.record._crecords"
ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "consumer/kafka/client"
# What aiokafka documents, and the wire protocol, which it cannot change.
PUBLIC_MODULES = {
    "aiokafka",
    "aiokafka.abc",
    "aiokafka.admin",
    "aiokafka.admin.config_resource",
    "aiokafka.coordinator.assignors.sticky.sticky_assignor",
    "aiokafka.errors",
    "aiokafka.structs",
}
PROTOCOL = "aiokafka.protocol."
PRIVATE = {"private_api", "private_client", "private_connection"}
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}  # public, in spite of the underscore


def private_touches(source: str) -> Iterator[str]:
    """Yield the private attributes of other objects, and imports of private parts of aiokafka."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if is_private(node.attr) and owner not in {"self", "cls"}:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                is_public = module.startswith(PROTOCOL) or module in PUBLIC_MODULES
                if module.startswith("aiokafka") and (is_private(alias.name) or not is_public):
                    yield f"line {node.lineno}: {module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("aiokafka") and alias.name not in PUBLIC_MODULES:
                    yield f"line {node.lineno}: {alias.name}"


def is_private(name: str) -> bool:
    """Return whether a name is private by its underscore."""
    return name.startswith("_") and not name.endswith("__") and name not in NAMED_TUPLE


@pytest.mark.parametrize(
    "path",
    [path for path in CLIENT.rglob("*.py") if path.stem not in PRIVATE],
    ids=lambda path: str(path.stem),
)
def test_only_three_modules_touch_private_parts(path: Path) -> None:
    """These modules say why each one is needed."""
    assert list(private_touches(path.read_text())) == []


def test_private_parts_are_found() -> None:
    """The check above sees attributes and imports, and accepts attributes of the object itself."""
    source = """
from aiokafka.consumer import fetcher
from aiokafka.protocol.fetch import FetchRequest
from aiokafka import AIOKafkaConsumer, _private
import aiokafka.client
consumer._fetcher._fetch_max_wait_ms = 1
self._own = place._replace(topic="t")
self._consumer._client.send()
"""
    assert sorted(private_touches(source)) == [
        "line 2: aiokafka.consumer.fetcher",
        "line 4: aiokafka._private",
        "line 5: aiokafka.client",
        "line 6: consumer._fetcher",
        "line 6: consumer._fetcher._fetch_max_wait_ms",
        "line 8: self._consumer._client",
    ]


def test_the_fetched_partition_uses_public_names_of_the_library() -> None:
    """Its own attributes are all defined in its class; the base class renames the library's."""
    tree = ast.parse(inspect.getsource(FetchedPartition))
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and is_private(n.attr)}
    assert not used & vars(FetchedPartitionBase(*EMPTY)).keys()
    assert all(hasattr(FetchedPartition(*EMPTY), name) for name in used)
    assert not used & set(dir(LIBRARY_RECORDS))


LIBRARY_RECORDS = FetchedPartitionBase.__base__
EMPTY = (TopicPartition("t", 0), FetchedBytes(b""), None, 0, None, None, True, 1)


def test_the_release_is_the_one_that_was_read() -> None:
    """Everything below was read in this release; read it again before changing the pin."""
    assert importlib.metadata.version("aiokafka") == "0.14.0"


def test_records_are_compiled_and_handed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's compiled record has all that the pipeline asks of one.

    It is used where the service's own compiled reader was not built.
    """
    monkeypatch.setattr(regular_records, "compiled_reader", None)
    assert DefaultRecordBatch.__module__.startswith(COMPILED)
    assert fetcher.PartitionRecords is FetchedPartition
    assert fetcher.FetchResult is BoundedFetchResult
    transaction_batches = TransactionBatches({"t": 1000})
    transaction_batches.to("t", 0).append(b"k", b"v", [("h", b"x")])
    (batch,) = transaction_batches.finish()[TopicPartition("t", 0)]
    records = fetcher.MemoryRecords(bytes(batch._build()))  # noqa: SLF001
    arguments = (None, 0, None, None, True, 1)
    (handed,) = fetcher.PartitionRecords(TopicPartition("t", 0), records, *arguments)
    assert type(handed).__module__.startswith(COMPILED)
    assert (handed.offset, handed.key, handed.value) == (0, b"k", b"v")
    assert list(handed.headers) == [("h", b"x")]
    assert handed.timestamp > 0


def test_the_library_hides_what_we_hide() -> None:
    """Its rules of visibility, which are written again here, are still these."""
    source = inspect.getsource(LIBRARY_RECORDS._unpack_records)  # noqa: SLF001
    for rule in (
        "self._consume_aborted_up_to(next_batch.base_offset)",
        "self._aborted_producers.discard(next_batch.producer_id)",
        "next_batch.producer_id in self._aborted_producers",
        "if record.offset < self.next_fetch_offset",
        "self.next_fetch_offset = next_batch.next_offset",
    ):
        assert rule in source


def test_an_emptied_control_batch_is_survived() -> None:
    """Compaction may leave a control batch without records; the library would fail forever."""
    emptied = batch(b"", 0, last_offset_delta=0, attributes=0x30, producer=(9, 0, -1))
    assert read_here(emptied).next_offset == 1
    assert "Control batch did not contain" in inspect.getsource(LIBRARY_RECORDS)


def test_fetched_batches_are_read_by_our_classes() -> None:
    """The fetcher uses the replaced classes, also for its results."""
    assert fetcher.MemoryRecords is FetchedBytes
    source = inspect.getsource(fetcher.Fetcher)
    assert "records = MemoryRecords(part_data[-1])" in source
    assert "records.has_next()" in source
    assert "type(res_or_error) is FetchResult" in source
    assert "res_or_error.getall(max_records)" in source


def test_a_request_is_joined_where_the_connection_adds_header_and_size() -> None:
    """The connection uses an encoded request in these three lines only."""
    source = inspect.getsource(AIOKafkaConnection.send)
    lines = [line.strip() for line in source.splitlines()]
    assert [line for line in lines if "message" in line or ".encode()" in line] == [
        "message = header.encode() + request_struct.encode()",
        'size = struct.pack(">i", len(message))',
        "self._writer.write(size + message)",
    ]
    assert "ProduceRequest(" in inspect.getsource(sender.SendProduceReqHandler.create_request)
    for version in ProduceRequest._CLASSES:  # noqa: SLF001
        assert version.encode is encode_in_parts


def test_a_request_is_encoded_as_its_schema_says() -> None:
    """The library encodes these types by the same rules as ``encoded_parts``."""
    assert "self.SCHEMA.encode([self.__dict__[name]" in inspect.getsource(Struct.encode)
    assert 'b"".join(field.encode(item[i])' in inspect.getsource(Schema.encode)
    assert "(Int32.encode(len(items)), *encoded_items)" in inspect.getsource(Array.encode)
    assert "Int32.encode(len(value)) + value" in inspect.getsource(Bytes.encode)


def test_the_pause_between_transactions_is_ours() -> None:
    """The constant exists and is used where CONCURRENT_TRANSACTIONS is answered."""
    assert sender.BACKOFF_OVERRIDE == 0.003
    assert "return BACKOFF_OVERRIDE" in inspect.getsource(sender.AddPartitionsToTxnHandler)
    assert writer.MAX_RECORDS_PER_PRODUCER < 2**31


def test_a_consumer_has_the_parts_we_touch() -> None:
    """The constructor still sets these names."""
    source = inspect.getsource(AIOKafkaConsumer.__init__)
    for name in ("_client", "_subscription", "_coordinator"):
        assert f"self.{name} = " in source
    assert "self._topics = set(topics)" in inspect.getsource(AIOKafkaClient.set_topics)


def test_a_producer_has_the_parts_we_touch() -> None:
    """``KafkaWriter.close`` ends the sender's task and the client by hand."""
    source = inspect.getsource(AIOKafkaProducer.__init__)
    for name in ("_sender", "client", "_closed"):
        assert f"self.{name} = " in source
    assert isinstance(sender.Sender.sender_task, property)
    for name in ("producer_id", "producer_epoch"):
        assert isinstance(getattr(transaction_manager.TransactionManager, name), property)


def test_group_offsets_can_be_committed_for_foreign_partitions() -> None:
    """``_do_commit_offsets`` takes (assignment, offsets) and uses only the offsets."""
    method = group_coordinator.GroupCoordinator._do_commit_offsets  # noqa: SLF001
    assert list(inspect.signature(method).parameters) == ["self", "assignment", "offsets"]
    body = inspect.getsource(method).split("\n", 1)[1]
    assert "assignment" not in body


def test_a_static_member_would_not_leave_by_itself() -> None:
    """The library still skips LeaveGroup for a static member; else ``leave_on_stop`` can go."""
    method = group_coordinator.GroupCoordinator._maybe_leave_group  # noqa: SLF001
    assert "self._group_instance_id is None" in inspect.getsource(method)


def test_a_batch_takes_its_first_record_whatever_its_size() -> None:
    """Only then does a new batch take what did not fit in the last one."""
    batch = message_accumulator.BatchBuilder(100, 0, is_transactional=1)
    assert batch.append(timestamp=None, key=None, value=b"x" * 1000) is not None
    assert batch.append(timestamp=None, key=None, value=b"x") is None


def test_fetches_can_be_watched_and_their_wait_changed() -> None:
    """The fetcher sends through the client's ``send`` and reads its wait at every fetch."""
    assert "self._client.send(node_id, request)" in inspect.getsource(
        fetcher.Fetcher._proc_fetch_request  # noqa: SLF001
    )
    for name in ("_max_partition_fetch_bytes", "_fetch_max_wait_ms"):
        assert f"self.{name}" in inspect.getsource(fetcher.Fetcher._get_actions_per_node)  # noqa: SLF001
    assert "self._fetch_max_wait_ms" in inspect.getsource(fetcher.Fetcher._get_actions_per_node)  # noqa: SLF001


def test_a_transaction_ends_with_a_future_that_holds_its_error() -> None:
    """It is the same future from the begin to the first error."""
    manager = transaction_manager.TransactionManager
    assert "return self._transaction_waiter" in inspect.getsource(manager.wait_for_transaction_end)
    assert "self._transaction_waiter.set_exception(exc)" in inspect.getsource(
        manager.error_transaction
    )
    assert "_coordination_task" in inspect.getsource(group_coordinator.GroupCoordinator.__init__)


def test_an_open_batch_takes_no_record_after_it_was_counted() -> None:
    """The library counts the records and sets the state in one step, and builds the bytes later."""
    source = inspect.getsource(message_accumulator.MessageAccumulator._pop_batch)  # noqa: SLF001
    counted = source.index("increment_sequence_number(batch.tp, batch.record_count)")
    assert counted < source.index("batch.set_producer_state(")
    assert "await" not in source
    assert "self._builder._set_producer_state(" in inspect.getsource(
        message_accumulator.MessageBatch.set_producer_state
    )
    batch = OpenBatch(1000, 0)
    assert batch.append(timestamp=None, key=b"k", value=b"v", headers=[]) is not None
    batch._set_producer_state(1, 0, 0)  # noqa: SLF001
    assert batch.append(timestamp=None, key=b"k", value=b"v", headers=[]) is None
    assert batch.record_count() == 1
