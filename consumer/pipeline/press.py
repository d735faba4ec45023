"""Makes ready events that fit their topic: of live records and of replayed ones alike."""

from typing import Final, Self

from msgspec import Struct

from consumer.pipeline.codec import Decoded
from consumer.pipeline.enrich import enrich, ready_headers
from consumer.pipeline.records import (
    Header,
    Headers,
    PoisonRecord,
    ReadyRecord,
    Reason,
    ShardSettings,
    Stage,
)
from consumer.pipeline.size import require_room, room_beside
from consumer.pipeline.trace_context import trace_headers
from schemas.ready_event import Origin

MAX_ID_CHARS: Final = 32_768
"""An id stands in the changelog too, whose records must fit whatever the other topics take."""


class Press(Struct, frozen=True):
    """What stays the same from one ready event of a shard to the next."""

    binary_mode: bool
    ready_max_bytes: int
    first_headers: list[Header]
    sure_room_bytes: int
    """Key and value that need no more than this fit the ready topic beside `first_headers`."""

    @classmethod
    def of(cls, settings: ShardSettings) -> Self:
        """Return the press of a shard."""
        first_headers, max_bytes = ready_headers(settings), settings.limits.ready_max_bytes
        # In binary mode each event has headers of its own, so each one is measured.
        room = 0 if settings.binary_mode else room_beside(first_headers, max_bytes)
        return cls(settings.binary_mode, max_bytes, first_headers, room)

    def make(self, decoded: Decoded, origin: Origin, headers: Headers) -> ReadyRecord:
        """Return the ready event of a record; raise the poison that is too large for one."""
        if len(decoded.id) > MAX_ID_CHARS:
            message = f"the id has {len(decoded.id)} characters, at most {MAX_ID_CHARS} are taken"
            raise PoisonRecord(Reason.TOO_LARGE, message, Stage.TASK_PUT, "RecordTooLarge")
        event_headers = self.first_headers
        has_headers = bool(headers or decoded.trace)
        if has_headers:
            event_headers = event_headers + trace_headers(headers, decoded.trace)
        event = enrich(decoded, origin, event_headers, binary_mode=self.binary_mode)
        if has_headers or len(event.key) + len(event.value) > self.sure_room_bytes:
            require_room("ready event", event.key, event.value, event.headers, self.ready_max_bytes)
        return event
