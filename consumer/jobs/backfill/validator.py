"""Validation of a backfill's elements: valid checkpoints that fit the input topic are sent."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from consumer.jobs.backfill.elements import Element, Rejected, read_elements
from consumer.jobs.backfill.file import Content
from consumer.jobs.retry import ShutdownSignal
from consumer.pipeline.decode.checkpoint import Decoded, decode
from consumer.pipeline.ready_event import MAX_ID_CHARS
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Header, InvalidRecord, Reason

ELEMENTS_BETWEEN_CHECKS: Final = 1_000


class Accepted(NamedTuple):
    """The key and value to send for an element, and its decoded checkpoint."""

    key: bytes
    value: bytes
    decoded: Decoded


class Validator(msgspec.Struct, frozen=True):
    """Accepts an element if it is a valid checkpoint with an id that is not too long.

    The record of the element must also fit the input topic.
    """

    max_message_bytes: int
    """``max.message.bytes`` of the topic that receives the elements."""
    headers: list[Header]

    def validate(self, element: Element | Rejected) -> Accepted | Rejected:
        """Return the element's key and value to send, or the reason why it is rejected."""
        if isinstance(element, Rejected):
            return element
        line, index, value = element.line, element.index, element.value
        try:
            decoded = decode(value)
        except InvalidRecord as invalid:
            return Rejected(line, index, invalid.reason, invalid.message)
        id_chars = len(decoded.id)
        if id_chars > MAX_ID_CHARS:
            message = f"the id has {id_chars} characters, but at most {MAX_ID_CHARS} are allowed"
            return Rejected(line, index, Reason.TOO_LARGE, message)
        key = decoded.id.encode()
        size_bytes = batch_bytes(key, value, self.headers)
        if size_bytes > self.max_message_bytes:
            message = (
                f"the record needs {size_bytes} bytes, but max.message.bytes of its topic is "
                f"{self.max_message_bytes}"
            )
            return Rejected(line, index, Reason.TOO_LARGE, message)
        return Accepted(key, value, decoded)


class FileSummary(msgspec.Struct):
    """How many elements a file has, and how many are accepted or rejected."""

    elements: int = 0
    accepted: int = 0
    rejected: dict[Reason, int] = msgspec.field(default_factory=dict)


async def summarize(
    content: Content,
    validator: Validator,
    report: Callable[[Rejected], None],
    shutdown: ShutdownSignal,
    *,
    on_accepted: Callable[[Decoded], None] | None = None,
) -> FileSummary:
    """Validate and count all elements, and report the rejected ones. Stop after a shutdown request.

    `on_accepted` receives each accepted element.
    """
    found = FileSummary()
    for element in read_elements(content):
        result = validator.validate(element)
        found.elements += 1
        if isinstance(result, Rejected):
            found.rejected[result.reason] = found.rejected.get(result.reason, 0) + 1
            report(result)
        else:
            found.accepted += 1
            if on_accepted is not None:
                on_accepted(result.decoded)
        if found.elements % ELEMENTS_BETWEEN_CHECKS == 0:
            await asyncio.sleep(0)
            if shutdown:
                break
    return found
