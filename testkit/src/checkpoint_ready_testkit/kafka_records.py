"""Kafka records with ready events, in structured and in binary mode, as the service writes them."""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from checkpoint_ready_testkit.json_text import JsonObject, encode
from checkpoint_ready_testkit.partitions import default_partition
from checkpoint_ready_testkit.validation import MAX_SHARDS, guid_bytes, require_integer

Mode = Literal["structured", "binary"]

STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
BINARY_CONTENT_TYPE: Final = "application/json"
GROUP_ID: Final = "checkpoint-ready"
SHARDS: Final = 3

SCHEMA_ID_HEADER: Final = "__value_schema_id"

_ATTRIBUTE_PREFIX: Final = "ce_"
_GUID_FOLLOWS: Final = b"\x01"
_BATCH_FIELDS_BYTES: Final = 61
_RECORD_FIELDS_BYTES: Final = 3  # attributes, and the differences in timestamp and offset
_NO_HEADERS: Final = frozenset({"data", "datacontenttype"})


class KafkaRecord(NamedTuple):
    """The parts of a record that its producer chooses."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def header(self, name: str) -> bytes | None:
        """Return the value of the last header with this name, or None without one."""
        return next((value for found, value in reversed(self.headers) if found == name), None)


def ready_record(  # noqa: PLR0913 - one parameter for each header
    event: Mapping[str, Any],
    *,
    mode: Mode = "structured",
    traceparent: str | None = None,
    tracestate: str | None = None,
    group_id: str = GROUP_ID,
    shards: int = SHARDS,
    schema_guid: str = "",
) -> KafkaRecord:
    """Return the record with which the service publishes an event.

    Args:
        event: the event, with all attributes, for example from `ready_event`.
        mode: the service's setting CLOUDEVENTS_MODE.
        traceparent: the W3C trace context of the source record, if it has one.
        tracestate: the second part of that trace context.
        group_id: the service's setting GROUP_ID. A header contains it.
        shards: the service's number of shards. The same header contains it.
        schema_guid: the service's setting SCHEMA_GUID. If it is empty, the record has no header
            ``__value_schema_id``.

    Raises:
        ValueError: the service would not accept such a setting.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, not {mode!r}")
    require_integer("shards", shards, 1, MAX_SHARDS)
    shard = default_partition(event["id"].encode(), shards)
    content_type = STRUCTURED_CONTENT_TYPE if mode == "structured" else BINARY_CONTENT_TYPE
    headers: list[tuple[str, bytes | None]] = [
        ("content-type", content_type.encode()),
        ("checkpoint-ready.shard", f"{group_id}/{shard}/{shards}".encode()),
    ]
    if schema_guid:
        headers.append((SCHEMA_ID_HEADER, _GUID_FOLLOWS + guid_bytes("schema_guid", schema_guid)))
    trace = {"traceparent": traceparent, "tracestate": tracestate}
    headers += [(name, text.encode()) for name, text in trace.items() if text is not None]
    if mode == "binary":
        headers += [
            (_ATTRIBUTE_PREFIX + name, _attribute_text(value).encode())
            for name, value in event.items()
            if name not in _NO_HEADERS
        ]
    value = encode(event if mode == "structured" else event["data"])
    return KafkaRecord(event["partitionkey"].encode(), value, headers)


def event_of(record: KafkaRecord) -> JsonObject:
    """Return the event of a record in either mode, as structured mode writes it.

    Raises:
        ValueError: the value is missing or is not JSON.
    """
    if record.value is None:
        raise ValueError("the record has no value")
    value: JsonObject = json.loads(record.value)
    if record.header("content-type") != BINARY_CONTENT_TYPE.encode():
        return value
    event: JsonObject = {
        name.removeprefix(_ATTRIBUTE_PREFIX): (text or b"").decode()
        for name, text in record.headers
        if name.startswith(_ATTRIBUTE_PREFIX)
    }
    replay_id = event.pop("replayid", None)
    event |= {"datacontenttype": BINARY_CONTENT_TYPE, "data": value}
    return event if replay_id is None else {**event, "replayid": replay_id}


def batch_bytes(record: KafkaRecord) -> int:
    """Return the length of an uncompressed batch with this record alone, as a broker counts it."""
    fields = [record.key, record.value]
    for name, value in record.headers:
        fields += (name.encode(), value)
    size_bytes = _RECORD_FIELDS_BYTES + _varint_bytes(len(record.headers))
    size_bytes += sum(
        1 if field is None else _varint_bytes(len(field)) + len(field) for field in fields
    )
    return _BATCH_FIELDS_BYTES + _varint_bytes(size_bytes) + size_bytes


def _varint_bytes(number: int) -> int:
    """Return the length of a number of at least 0. Each byte has 7 bits, one is for the sign."""
    return number.bit_length() // 7 + 1


def _attribute_text(value: object) -> str:
    """Return the text of an attribute in a header (CloudEvents 1.0, type system)."""
    return value if isinstance(value, str) else encode(value).decode()
