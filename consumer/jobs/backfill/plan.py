"""What would become of a backfill's elements: who is sent, and what the service would do then."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from consumer.jobs.backfill.elements import Element, Rejected, read_elements
from consumer.jobs.backfill.file import Content
from consumer.jobs.context import JobContext
from consumer.jobs.retry import ShutdownSignal
from consumer.kafka.read import read_range, settled_ranges
from consumer.pipeline.decode.canonical import FORMS, digests
from consumer.pipeline.decode.checkpoint import Decoded, decode
from consumer.pipeline.digest_table import DigestTable
from consumer.pipeline.ready_event import MAX_ID_CHARS
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Header, InvalidRecord, Reason
from consumer.pipeline.seen_ids import DIGEST_BYTES, SeenIds, id_digest
from consumer.shard.changelog import ID, ShardState

ELEMENTS_BETWEEN_LOOKS: Final = 1_000


class Accepted(NamedTuple):
    """An element as it is sent."""

    key: bytes
    value: bytes
    decoded: Decoded


class Validator(msgspec.Struct, frozen=True):
    """Decides which elements are sent: those that the service would not make dead letters of."""

    max_message_bytes: int
    """Of the topic that they are sent to."""
    headers: list[Header]

    def judge(self, element: Element | Rejected) -> Accepted | Rejected:
        """Return the element as it is sent, or why it is not."""
        if isinstance(element, Rejected):
            return element
        line, index, value = element.line, element.index, element.value
        try:
            decoded = decode(value)
        except InvalidRecord as poison:
            return Rejected(line, index, poison.reason, poison.message)
        id_chars = len(decoded.id)
        if id_chars > MAX_ID_CHARS:
            message = f"the id has {id_chars} characters, at most {MAX_ID_CHARS} are taken"
            return Rejected(line, index, Reason.TOO_LARGE, message)
        key = decoded.id.encode()
        size_bytes = batch_bytes(key, value, self.headers)
        if size_bytes > self.max_message_bytes:
            message = (
                f"the record needs {size_bytes} bytes, its topic takes {self.max_message_bytes}"
            )
            return Rejected(line, index, Reason.TOO_LARGE, message)
        return Accepted(key, value, decoded)


class FileSummary(msgspec.Struct):
    """What a file holds."""

    elements: int = 0
    accepted: int = 0
    rejected: dict[Reason, int] = msgspec.field(default_factory=dict)


class Forecast(msgspec.Struct, frozen=True):
    """What the service would do with the accepted elements; all but `ids` add up to them."""

    ids: int
    new: int
    published: int
    repeated: int
    conflicting: int


class Contents:
    """The ids of accepted elements and the digests of their contents, packed, in their order.

    Of each content there is a digest in every form that the changelogs may hold.
    """

    def __init__(self) -> None:
        self.ids = DigestTable(0)
        self._entries = bytearray()

    def note(self, decoded: Decoded) -> None:
        """Take an element in."""
        of_id = id_digest(decoded.id)
        self.ids.put(of_id, b"")
        self._entries += of_id
        for content in digests(decoded.digest, decoded.canonical):
            self._entries += content

    def forecast(self, published: SeenIds, now_ms: int) -> Forecast:
        """Tell what becomes of the elements, sent in their order to who has published that."""
        outcomes = {"new": 0, "published": 0, "repeated": 0, "conflicting": 0}
        first_contents = DigestTable(DIGEST_BYTES)
        width = (1 + len(FORMS)) * DIGEST_BYTES
        for start in range(0, len(self._entries), width):
            of_id, content, *others = (
                bytes(self._entries[place : place + DIGEST_BYTES])
                for place in range(start, start + width, DIGEST_BYTES)
            )
            known = published.lookup(of_id, now_ms)
            earlier = first_contents.get(of_id)
            if known is None and earlier is None:
                first_contents.put(of_id, content)
                outcome = "new"
            elif (earlier if known is None else known) not in {content, *others}:
                outcome = "conflicting"
            else:
                outcome = "repeated" if known is None else "published"
            outcomes[outcome] += 1
        return Forecast(ids=len(self.ids), **outcomes)


async def summary(
    content: Content,
    judge: Validator,
    report: Callable[[Rejected], None],
    stop: ShutdownSignal,
    *,
    note: Callable[[Decoded], None] | None = None,
) -> FileSummary:
    """Check every element: report the rejected, count the accepted. Ends early on shutdown."""
    found = FileSummary()
    for element in read_elements(content):
        judged = judge.judge(element)
        found.elements += 1
        if isinstance(judged, Rejected):
            found.rejected[judged.reason] = found.rejected.get(judged.reason, 0) + 1
            report(judged)
        else:
            found.accepted += 1
            if note is not None:
                note(judged.decoded)
        if found.elements % ELEMENTS_BETWEEN_LOOKS == 0:
            await asyncio.sleep(0)
            if stop:
                break
    return found


async def load_published(context: JobContext, ids: DigestTable) -> SeenIds:
    """Return what the group has published under these ids; of no other id memory is taken.

    Raises:
        TaskFailed, StateCorrupted: a changelog cannot be read.
    """
    state = ShardState(context.settings.dedup_window_seconds * 1000)
    ranges = await settled_ranges(context.reader, context.changelogs())
    async for batch in read_range(context.reader, ranges):
        state.load([record for record in batch.records if _is_wanted(record.key or b"", ids)])
    return state.seen


def _is_wanted(key: bytes, ids: DigestTable) -> bool:
    digest = key[len(ID) :]
    return key[: len(ID)] == ID and len(digest) == DIGEST_BYTES and ids.get(digest) is not None
