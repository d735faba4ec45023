"""Kafka records with ready events, in structured and in binary mode, as the service writes them."""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from checkpoint_ready_testkit.json_text import JsonObject, encode
from checkpoint_ready_testkit.partitions import default_partition

Mode = Literal["structured", "binary"]

STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
BINARY_CONTENT_TYPE: Final = "application/json"
GROUP_ID: Final = "checkpoint-ready"
SHARDS: Final = 3

_ATTRIBUTE_PREFIX: Final = "ce_"
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
) -> KafkaRecord:
    """Return the record with which the service publishes an event.

    Args:
        event: the event, with all attributes, for example from `ready_event`.
        mode: the service's setting CLOUDEVENTS_MODE.
        traceparent: the W3C trace context of the source record, if it has one.
        tracestate: the second part of that trace context.
        group_id: the service's setting GROUP_ID. A header contains it.
        shards: the service's number of shards. The same header contains it.
    """
    shard = default_partition(event["id"].encode(), shards)
    content_type = STRUCTURED_CONTENT_TYPE if mode == "structured" else BINARY_CONTENT_TYPE
    headers: list[tuple[str, bytes | None]] = [
        ("content-type", content_type.encode()),
        ("checkpoint-ready.shard", f"{group_id}/{shard}/{shards}".encode()),
    ]
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


def _attribute_text(value: object) -> str:
    """Return the text of an attribute in a header (CloudEvents 1.0, type system)."""
    return value if isinstance(value, str) else encode(value).decode()
