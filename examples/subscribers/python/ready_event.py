"""Decodes ready events with the CloudEvents SDK, in both content modes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_structured_event
from cloudevents.core.exceptions import BaseCloudEventException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudevents.core.base import BaseCloudEvent

    Headers = Iterable[tuple[str, bytes | None]]

READY_TYPE = "fine_tuning.job.checkpoint.ready"
# What decoding raises for a record of any content. RecursionError: JSON that is nested too deep.
WRONG_CONTENT = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


class NotReadyEventError(Exception):
    """The record is no CloudEvent, or an event of another type. The message says what it is."""


class ReadyEvent(NamedTuple):
    """The members of a ready event that the examples use."""

    id: str
    job: str
    step: int
    model: str
    base_model: str | None
    loss: float | None  # None: not measured
    replayid: str | None  # None: not published by a replay
    json: str  # the whole event in structured mode, with the members that are unknown here

    @property
    def quoted_id(self) -> str:
        """The id in the characters A-Z, a-z, 0-9, `-`, `_`, `~` and `%` only.

        Each other byte of its UTF-8 is written as `%` and two hexadecimal digits. An id can have
        characters that an environment variable or an HTTP header must not contain.
        """
        return quote(self.id, safe="").replace(".", "%2E")

    def line(self, partition: int, offset: int) -> str:
        """Return the line that the subscribers print for this event."""
        members: dict[str, Any] = {
            "id": self.id,
            "job": self.job,
            "step": self.step,
            "model": self.model,
            "loss": self.loss,
            "partition": partition,
            "offset": offset,
        }
        if self.replayid is not None:
            members["replayid"] = self.replayid
        return json.dumps(members)


def decode(headers: Headers, value: bytes | None) -> ReadyEvent:
    """Return the ready event in a record.

    Attributes and members that this program does not know are allowed.

    Raises:
        NotReadyEventError: the record holds something else.
    """
    present = {name: content for name, content in headers if content is not None}
    # Without the key: the SDK would make an attribute of it, which the event already has.
    message = KafkaMessage(headers=present, key=None, value=value or b"")
    try:
        event = from_kafka_event(message)
    except (BaseCloudEventException, *WRONG_CONTENT) as error:
        raise NotReadyEventError(f"no CloudEvent: {type(error).__name__}") from error
    if event.get_type() != READY_TYPE:
        raise NotReadyEventError(f"an event of type {event.get_type()!r}")
    try:
        return _ready_event(event)
    except WRONG_CONTENT as error:
        raise NotReadyEventError(f"not a valid ready event: {type(error).__name__}") from error


def _ready_event(event: BaseCloudEvent) -> ReadyEvent:
    data: Any = event.get_data()
    checkpoint = data["checkpoint"]
    base_model = data.get("model", {}).get("base_model")
    replayid = event.get_extension("replayid")
    return ReadyEvent(
        _text(event.get_id()),
        _text(checkpoint["fine_tuning_job_id"]),
        checkpoint["step_number"],
        _text(checkpoint["fine_tuned_model_checkpoint"]),
        None if base_model is None else _text(base_model),
        data.get("evaluation", {}).get("loss"),
        None if replayid is None else _text(replayid),
        to_structured_event(event).value.decode(),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # JSON can contain half of a surrogate pair, which no action can pass on
    return value
