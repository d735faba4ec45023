"""The published ids of a shard: its memory, restored from the changelog at every start.

Each id has the stream time of its publication. The id counts as published for a record whose
timestamp is less than a dedup window after that time. Without a window, an id is remembered
forever. A *variant* is another content of a published id that became a dead letter. Each variant
has its own window, which starts with its dead letter. An entry is *expired* when no future record
can match it.

The memory holds only digests, packed in a `DigestTable`. `Decider` reads it, and `apply` changes it
after the commit.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

from msgspec import Struct, field

from consumer.pipeline import hashes
from consumer.pipeline.digest_table import KEY_BYTES, DigestTable
from consumer.pipeline.records import IdEntry, SourceRecord

DIGEST_BYTES: Final = KEY_BYTES
MAX_VARIANTS_PER_ID: Final = 8
"""How many refused contents of an id are remembered.

Two or three contents have a plausible cause: metrics that are added later, or two pollers with
different fields. A field that changes at every poll creates an unlimited number of contents. None
of these contents occurs twice, so it would be useless to remember more of them."""
_COUNT_BYTES: Final = 4
_TIME_BYTES: Final = 8
_DIGESTS_PER_CHUNK: Final = 1024
_EMPTY_SLOT: Final = bytes(KEY_BYTES)
_time = itemgetter(0)


id_digest: Final = hashes.digest
"""Returns the digest that replaces an id in memory: 128 bits of BLAKE2b (RFC 7693).

If two ids had the same digest, the second would be lost as a duplicate. Producers choose the ids,
so only a cryptographic hash prevents that."""


def variant_digest(of_id: bytes, content: bytes) -> bytes:
    """Return the digest of a refused content of an id, computed from the digests of both."""
    return hashes.digest(of_id + content)


class EntryLayout(NamedTuple):
    """How a changelog record holds the digests of id and content; see `DigestTable.put_records`."""

    prefix_of_key: bytes
    prefix_of_value: bytes
    least_value_bytes: int


class _TimedDigests:
    """Maps a digest to its value. With a dedup window it also keeps the order of insertion."""

    __slots__ = ("_chunks", "_head", "_table", "_value_bytes", "_window_ms")

    def __init__(self, value_bytes: int, window_ms: int) -> None:
        self._value_bytes = value_bytes
        self._window_ms = window_ms
        self._table = DigestTable(value_bytes + (_TIME_BYTES if window_ms else 0))
        # The packed digests in insertion order, in chunks. Each chunk has the latest time of its
        # digests. A digest that is dropped or inserted again leaves an empty slot.
        self._chunks: deque[tuple[bytearray, int]] = deque()
        self._head = 0  # bytes of empty slots at the start of the first chunk

    def __len__(self) -> int:
        return len(self._table)

    def get(self, digest: bytes, time_ms: int) -> bytes | None:
        """Return the value of a digest; None if not held, or if `time_ms` is outside its window."""
        entered = self._table.get(digest)
        if entered is None or not self._window_ms:
            return entered
        if time_ms - _time_of(entered) >= self._window_ms:
            return None
        return entered[: self._value_bytes]

    def value_of(self, digest: bytes) -> bytes | None:
        """Return the value of a digest of any age, or None."""
        entered = self._table.get(digest)
        return None if entered is None else entered[: self._value_bytes]

    def put(self, digest: bytes, value: bytes, time_ms: int) -> None:
        """Insert a digest. The times of successive calls must not decrease."""
        if not self._window_ms:
            self._table.put(digest, value)
            return
        self._clear_slot_of(digest)
        self._table.put(digest, value + time_ms.to_bytes(_TIME_BYTES, "big", signed=True))
        if not self._chunks or len(self._chunks[-1][0]) >= _DIGESTS_PER_CHUNK * KEY_BYTES:
            self._chunks.append((bytearray(), time_ms))
        slots, latest_ms = self._chunks[-1]
        slots += digest
        self._chunks[-1] = (slots, max(latest_ms, time_ms))

    def reserve(self, count: int) -> None:
        """Allocate memory for this number of digests in total."""
        self._table.reserve(count)

    def put_records(self, records: Sequence[SourceRecord], start: int, layout: EntryLayout) -> int:
        """Insert the entries of records from `start` on; return the first record not inserted.

        With a dedup window insert nothing, because each digest then needs its time.
        """
        if self._window_ms:
            return start
        return self._table.put_records(records, start, *layout)

    def put_all(self, digests: Iterable[bytes], values: Iterable[bytes]) -> None:
        """Insert digests without times: only without a window."""
        self._table.put_all(digests, values)

    def drop(self, digest: bytes) -> None:
        """Remove a digest, if present."""
        if self._window_ms:
            self._clear_slot_of(digest)
        self._table.drop(digest)

    def until(self, last_ms: int) -> Iterator[tuple[int, bytes]]:
        """Yield time and digest of the entries inserted up to `last_ms`, oldest first."""
        head = self._head
        for slots, _ in self._chunks:
            for start in range(head, len(slots), KEY_BYTES):
                digest = bytes(slots[start : start + KEY_BYTES])
                entered = self._table.get(digest) if digest != _EMPTY_SLOT else None
                if entered is None:
                    continue
                time_ms = _time_of(entered)
                if time_ms > last_ms:
                    return
                yield time_ms, digest
            head = 0

    def _clear_slot_of(self, digest: bytes) -> None:
        """Remove a digest from the insertion order. Search from the oldest digests on."""
        entered = self._table.get(digest)
        if entered is None:
            return
        time_ms = _time_of(entered)
        for slots, latest_ms in self._chunks:
            if latest_ms < time_ms:
                continue
            start = slots.find(digest)
            while start % KEY_BYTES and start >= 0:
                start = slots.find(digest, start + 1)
            if start >= 0:
                slots[start : start + KEY_BYTES] = _EMPTY_SLOT
                break
        self._trim()

    def _trim(self) -> None:
        """Free the empty slots at the start."""
        while self._chunks:
            slots = self._chunks[0][0]
            while self._head < len(slots):
                if slots[self._head : self._head + KEY_BYTES] != _EMPTY_SLOT:
                    return
                self._head += KEY_BYTES
            self._chunks.popleft()
            self._head = 0


class Expired(Struct):
    """Digests of the ids and variants that are due for a tombstone, oldest first."""

    ids: dict[bytes, None] = field(default_factory=dict)
    variants: dict[bytes, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids) + len(self.variants)


class SeenIds:
    """The published ids of one shard, and their refused variants."""

    __slots__ = ("_ids", "_variant_counts", "_variants", "_window_ms", "stream_time_ms")

    def __init__(self, window_ms: int) -> None:
        """Start empty. With `window_ms` 0 nothing ever expires, and no times are kept."""
        self.stream_time_ms = 0
        self._window_ms = window_ms
        self._ids = _TimedDigests(DIGEST_BYTES, window_ms)
        # The value of a variant is the digest of its id, because a tombstone of the variant must
        # decrement the count of that id. Ids without variants have no count.
        self._variants = _TimedDigests(DIGEST_BYTES, window_ms)
        self._variant_counts = DigestTable(_COUNT_BYTES)

    def __len__(self) -> int:
        """Return the number of ids held, including expired ids that have no tombstone yet."""
        return len(self._ids)

    @property
    def variants(self) -> int:
        """The number of variants held, including expired variants that have no tombstone yet."""
        return len(self._variants)

    def lookup(self, digest: bytes, time_ms: int) -> bytes | None:
        """Return the digest of the content that was published under an id.

        Return None if the id is not held, or if `time_ms` is outside its window.
        """
        return self._ids.get(digest, time_ms)

    def has_variant(self, digest: bytes, time_ms: int) -> bool:
        """Return whether this variant is a dead letter already, and `time_ms` is in its window."""
        return self._variants.get(digest, time_ms) is not None

    def holds_variant(self, digest: bytes) -> bool:
        """Return whether this variant is held, even outside its window."""
        return self._variants.value_of(digest) is not None

    def variants_of(self, of_id: bytes) -> int:
        """Return the number of variants held for an id."""
        return int.from_bytes(self._variant_counts.get(of_id) or b"", "big")

    def remember(self, digest: bytes, content: bytes, stream_time_ms: int) -> None:
        """Add a published id. Call it in the order of stream time."""
        self._ids.put(digest, content, stream_time_ms)

    def remember_all(self, entries: Mapping[bytes, IdEntry]) -> None:
        """Add published ids by their digests, in the order of stream time."""
        if self._window_ms:
            for digest, entry in entries.items():
                self.remember(digest, entry.digest, entry.stream_time_ms)
        else:  # one call, because every published event comes here
            self._ids.put_all(entries, [entry.digest for entry in entries.values()])

    def reserve(self, ids: int) -> None:
        """Allocate memory for this number of ids in total. With a dedup window, do nothing."""
        if not self._window_ms:
            self._ids.reserve(ids)

    def remember_records(
        self, records: Sequence[SourceRecord], start: int, layout: EntryLayout
    ) -> int:
        """Add the published ids of changelog records, from record number `start` on, in a restore.

        Stop before the first record of another layout, and return its number: the caller reads this
        record itself. With a dedup window, add nothing and return `start`.
        """
        return self._ids.put_records(records, start, layout)

    def remember_variant(self, digest: bytes, of_id: bytes, stream_time_ms: int) -> None:
        """Add a refused variant of an id. Call it in the order of stream time."""
        if not self.holds_variant(digest):
            self._count_variant(of_id, 1)
        self._variants.put(digest, of_id, stream_time_ms)

    def forget(self, digest: bytes) -> None:
        """Remove an id, if present."""
        self._ids.drop(digest)

    def forget_variant(self, digest: bytes) -> None:
        """Remove a variant, if present."""
        of_id = self._variants.value_of(digest)
        if of_id is not None:
            self._count_variant(of_id, -1)
            self._variants.drop(digest)

    def expired(self, watermark_ms: int, limit: int) -> Expired:
        """Return at most `limit` expired entries, oldest first. The memory does not change.

        No future record is expected to have a timestamp before `watermark_ms`.
        """
        expired = Expired()
        if not self._window_ms:
            return expired
        last_ms = watermark_ms - self._window_ms
        ids = ((time_ms, digest, expired.ids) for time_ms, digest in self._ids.until(last_ms))
        variants = (
            (time_ms, digest, expired.variants) for time_ms, digest in self._variants.until(last_ms)
        )
        for _, digest, kind in islice(merge(ids, variants, key=_time), limit):
            kind[digest] = None
        return expired

    def _count_variant(self, of_id: bytes, change: int) -> None:
        count = self.variants_of(of_id) + change
        if count:
            self._variant_counts.put(of_id, count.to_bytes(_COUNT_BYTES, "big"))
        else:
            self._variant_counts.drop(of_id)

    def is_expired(self, inserted_ms: int, time_ms: int) -> bool:
        """Return whether `time_ms` is outside the window of an entry inserted at `inserted_ms`."""
        return bool(self._window_ms) and time_ms - inserted_ms >= self._window_ms


def _time_of(entered: bytes) -> int:
    return int.from_bytes(entered[-_TIME_BYTES:], "big", signed=True)
