"""The forecast of a backfill: what the service would do with the accepted elements."""

import msgspec

from consumer.jobs.context import JobContext
from consumer.kafka.read import read_range, settled_ranges
from consumer.pipeline.decode.canonical import FORMS, digests
from consumer.pipeline.decode.checkpoint import Decoded
from consumer.pipeline.digest_table import DigestTable
from consumer.pipeline.seen_ids import DIGEST_BYTES, SeenIds, id_digest
from consumer.shard.changelog import ID, ShardState


class Forecast(msgspec.Struct, frozen=True):
    """The number of accepted elements with each outcome; `ids` is the number of distinct ids."""

    ids: int
    new: int
    published: int
    """The group has published the same content under this id."""
    repeated: int
    """The same id and content are earlier in the file."""
    conflicting: int
    """Another content of this id is published or earlier in the file."""


class AcceptedElements:
    """Digests of the accepted elements' ids and contents, packed, in file order.

    Each content has one digest for each version of the comparison form in the changelogs.
    """

    def __init__(self) -> None:
        self.ids = DigestTable(0)
        self._entries = bytearray()

    def add(self, decoded: Decoded) -> None:
        """Add an element."""
        id_key = id_digest(decoded.id)
        self.ids.put(id_key, b"")
        self._entries += id_key
        for content in digests(decoded.digest, decoded.canonical):
            self._entries += content

    def forecast(self, published: SeenIds, now_ms: int) -> Forecast:
        """Return the outcomes if a group that has published these ids receives the elements now."""
        outcomes = {"new": 0, "published": 0, "repeated": 0, "conflicting": 0}
        first_contents = DigestTable(DIGEST_BYTES)
        width = (1 + len(FORMS)) * DIGEST_BYTES
        for start in range(0, len(self._entries), width):
            id_key, content, *others = (
                bytes(self._entries[at : at + DIGEST_BYTES])
                for at in range(start, start + width, DIGEST_BYTES)
            )
            known = published.lookup(id_key, now_ms)
            earlier = first_contents.get(id_key)
            if known is None and earlier is None:
                first_contents.put(id_key, content)
                outcome = "new"
            elif (earlier if known is None else known) not in {content, *others}:
                outcome = "conflicting"
            else:
                outcome = "repeated" if known is None else "published"
            outcomes[outcome] += 1
        return Forecast(ids=len(self.ids), **outcomes)


async def load_published(context: JobContext, ids: DigestTable) -> SeenIds:
    """Return which of these ids the group has published. Other published ids are not loaded.

    Raises:
        TaskFailed, StateCorrupted: a changelog is not readable.
    """
    state = ShardState(context.settings.dedup_window_seconds * 1000)
    ranges = await settled_ranges(context.reader, context.changelogs())
    async for batch in read_range(context.reader, ranges):
        state.load([record for record in batch.records if _is_wanted(record.key or b"", ids)])
    return state.seen


def _is_wanted(key: bytes, ids: DigestTable) -> bool:
    digest = key[len(ID) :]
    return key[: len(ID)] == ID and len(digest) == DIGEST_BYTES and ids.get(digest) is not None
