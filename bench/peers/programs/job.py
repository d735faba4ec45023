"""The work of a contender: its topics, and the decoding and enriching that all have in common.

The peers decode and enrich with the functions of this service. So a difference shows the framework,
its state and its transactions, and not the JSON library.
"""

import sys
from typing import NamedTuple

import msgspec

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import enrich
from consumer.pipeline.records import InvalidRecord
from schemas.ready_event import EVENT_CONTENT_TYPE, Origin

CONTENT_TYPE = ("content-type", EVENT_CONTENT_TYPE.encode())


class Job(msgspec.Struct, frozen=True):
    """The topics and settings of one run."""

    bootstrap_servers: str
    group: str
    input_topic: str
    output_topic: str
    dead_letter_topic: str
    folder: str
    settings: dict[str, str]

    @classmethod
    def from_arguments(cls) -> "Job":
        """Return the job in the argument of this program."""
        return msgspec.json.decode(sys.argv[1], type=cls)


class Ready(NamedTuple):
    """A ready event, and the id that it is about."""

    id: str
    key: bytes
    value: bytes


def ready_event(
    value: bytes | None, topic: str, partition: int, offset: int, timestamp_ms: int
) -> Ready | None:
    """Return the ready event of a record, or None if the record is invalid."""
    try:
        decoded = decode(value)
    except InvalidRecord:
        return None
    event = enrich(decoded, Origin(topic, partition, offset, timestamp_ms), [CONTENT_TYPE])
    return Ready(event.id, event.key, event.value)
