"""The ids a shard has published: its memory, rebuilt from the changelog at every start.

An id is *seen* until a record whose own time is a window later than the stream time at which it was
published; with no window, for ever. Its other contents (variants), each already a dead letter, age
on their own. What no record that is still to come can find any more is *expired*.

Memory holds digests only, packed (`digest_table`). Nothing here decides: `process` only reads, and
what it decided is applied after the commit.
"""

from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Final

from msgspec import Struct, field

from consumer.pipeline.digest_table import KEY_BYTES, DigestTable

DIGEST_BYTES: Final = KEY_BYTES
MAX_VARIANTS_PER_ID: Final = 8
"""How many refused contents of an id are remembered. Two or three are what producers mean: metrics
that come later, two pollers with different fields. With a field that changes at every poll there is
no end of them, and none comes twice."""
_COUNT_BYTES: Final = 4
_TIME_BYTES: Final = 8
_PLACES_PER_CHUNK: Final = 1024
_EMPTY: Final = bytes(KEY_BYTES)
_time = itemgetter(0)


def id_digest(checkpoint_id: str) -> bytes:
    """Return what an id is known by: 128 bits of BLAKE2b (RFC 7693).

    Two ids with one digest would be taken for the same one, and the second be lost; producers
    choose ids, so it has to be a cryptographic one.
    """
    return blake2b(checkpoint_id.encode(), digest_size=DIGEST_BYTES).digest()


def variant_digest(of_id: bytes, content: bytes) -> bytes:
    """Return what a refused content of an id is known by, from the digests of both."""
    return blake2b(of_id + content, digest_size=DIGEST_BYTES).digest()


class _TimedDigests:
    """Digests, what each was entered with, and, with a window, when: oldest first."""

    __slots__ = ("_chunks", "_head", "_table", "_value_bytes", "_window_ms")

    def __init__(self, value_bytes: int, window_ms: int) -> None:
        self._value_bytes = value_bytes
        self._window_ms = window_ms
        self._table = DigestTable(value_bytes + (_TIME_BYTES if window_ms else 0))
        # The digests by age, packed, each chunk with its latest time. A digest that was dropped or
        # entered again leaves an empty place behind.
        self._chunks: deque[tuple[bytearray, int]] = deque()
        self._head = 0  # bytes of empty places at the endpoint

    def __len__(self) -> int:
        return len(self._table)

    def get(self, digest: bytes, time_ms: int) -> bytes | None:
        """Return what was entered, unless `time_ms` lies outside its window."""
        entered = self._table.get(digest)
        if entered is None or not self._window_ms:
            return entered
        if time_ms - _time_of(entered) >= self._window_ms:
            return None
        return entered[: self._value_bytes]

    def value_of(self, digest: bytes) -> bytes | None:
        """Return what was entered, at whatever time."""
        entered = self._table.get(digest)
        return None if entered is None else entered[: self._value_bytes]

    def put(self, digest: bytes, value: bytes, time_ms: int) -> None:
        """Enter a digest; the times of all calls never go back."""
        if not self._window_ms:
            self._table.put(digest, value)
            return
        self._empty_place_of(digest)
        self._table.put(digest, value + time_ms.to_bytes(_TIME_BYTES, "big", signed=True))
        if not self._chunks or len(self._chunks[-1][0]) >= _PLACES_PER_CHUNK * KEY_BYTES:
            self._chunks.append((bytearray(), time_ms))
        places, latest_ms = self._chunks[-1]
        places += digest
        self._chunks[-1] = (places, max(latest_ms, time_ms))

    def reserve(self, count: int) -> None:
        """Make room."""
        self._table.reserve(count)

    def put_all(self, digests: list[bytes], values: list[bytes], times_ms: list[int]) -> None:
        """Enter many digests."""
        if not self._window_ms:
            self._table.put_all(digests, values)
            return
        for digest, value, time_ms in zip(digests, values, times_ms, strict=True):
            self.put(digest, value, time_ms)

    def drop(self, digest: bytes) -> None:
        """Remove a digest; an unknown one is no error."""
        if self._window_ms:
            self._empty_place_of(digest)
        self._table.drop(digest)

    def until(self, last_ms: int) -> Iterator[tuple[int, bytes]]:
        """Yield time and digest of what was entered up to `last_ms`, oldest first."""
        head = self._head
        for places, _ in self._chunks:
            for place in range(head, len(places), KEY_BYTES):
                digest = bytes(places[place : place + KEY_BYTES])
                entered = self._table.get(digest) if digest != _EMPTY else None
                if entered is None:
                    continue
                time_ms = _time_of(entered)
                if time_ms > last_ms:
                    return
                yield time_ms, digest
            head = 0

    def _empty_place_of(self, digest: bytes) -> None:
        """Take a known digest out of the order of ages. It mostly is among the oldest."""
        entered = self._table.get(digest)
        if entered is None:
            return
        time_ms = _time_of(entered)
        for places, latest_ms in self._chunks:
            if latest_ms < time_ms:
                continue
            place = places.find(digest)
            while place % KEY_BYTES and place >= 0:
                place = places.find(digest, place + 1)
            if place >= 0:
                places[place : place + KEY_BYTES] = _EMPTY
                break
        self._trim()

    def _trim(self) -> None:
        """Let go of empty places at the endpoint."""
        while self._chunks:
            places = self._chunks[0][0]
            while self._head < len(places):
                if places[self._head : self._head + KEY_BYTES] != _EMPTY:
                    return
                self._head += KEY_BYTES
            self._chunks.popleft()
            self._head = 0


class Expired(Struct):
    """What a tombstone is due for, oldest first: digests of ids and of variants."""

    ids: dict[bytes, None] = field(default_factory=dict)
    variants: dict[bytes, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids) + len(self.variants)


class SeenIds:
    """The published ids of one shard, and the variants of them that were refused."""

    __slots__ = ("_ids", "_variant_counts", "_variants", "_window_ms", "stream_time_ms")

    def __init__(self, window_ms: int) -> None:
        """Start empty. `window_ms` 0: nothing ever expires, and no times are kept."""
        self.stream_time_ms = 0
        self._window_ms = window_ms
        self._ids = _TimedDigests(DIGEST_BYTES, window_ms)
        # A variant's value is the digest of its id, so that a tombstone of the variant can be
        # counted for the id. Ids without variants are not in the counts.
        self._variants = _TimedDigests(DIGEST_BYTES, window_ms)
        self._variant_counts = DigestTable(_COUNT_BYTES)

    def __len__(self) -> int:
        """Return how many ids are held, expired ones without a tombstone included."""
        return len(self._ids)

    @property
    def variants(self) -> int:
        """How many refused contents are held, expired ones without a tombstone included."""
        return len(self._variants)

    def lookup(self, digest: bytes, time_ms: int) -> bytes | None:
        """Return the digest of the content that was published under the id of this digest.

        None when there is none, or when a record of `time_ms` is a window later.
        """
        return self._ids.get(digest, time_ms)

    def has_variant(self, digest: bytes, time_ms: int) -> bool:
        """Tell whether this content of this id already is a dead letter."""
        return self._variants.get(digest, time_ms) is not None

    def holds_variant(self, digest: bytes) -> bool:
        """Tell whether this content of this id is held, even outside its window."""
        return self._variants.value_of(digest) is not None

    def variants_of(self, of_id: bytes) -> int:
        """Return how many refused contents of the id of this digest are held."""
        return int.from_bytes(self._variant_counts.get(of_id) or b"", "big")

    def remember(self, digest: bytes, content: bytes, stream_time_ms: int) -> None:
        """Take in a published id. Calls come in the order of stream time."""
        self._ids.put(digest, content, stream_time_ms)

    def reserve(self, ids: int) -> None:
        """Make room for this number of ids in all. With a window it does nothing."""
        if not self._window_ms:
            self._ids.reserve(ids)

    def remember_all(
        self, digests: list[bytes], contents: list[bytes], stream_times_ms: list[int]
    ) -> None:
        """Take in many published ids, for a restore."""
        self._ids.put_all(digests, contents, stream_times_ms)

    def remember_variant(self, digest: bytes, of_id: bytes, stream_time_ms: int) -> None:
        """Take in a refused variant of an id. Calls come in the order of stream time."""
        if not self.holds_variant(digest):
            self._count_variant(of_id, 1)
        self._variants.put(digest, of_id, stream_time_ms)

    def forget(self, digest: bytes) -> None:
        """Drop an id; an unknown one is no error."""
        self._ids.drop(digest)

    def forget_variant(self, digest: bytes) -> None:
        """Drop a variant; an unknown one is no error."""
        of_id = self._variants.value_of(digest)
        if of_id is not None:
            self._count_variant(of_id, -1)
            self._variants.drop(digest)

    def expired(self, watermark_ms: int, limit: int) -> Expired:
        """Return what a tombstone is due for, oldest first, at most `limit`; nothing changes.

        `watermark_ms`: no record that is still to come is older than this.
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

    def is_expired(self, entered_ms: int, time_ms: int) -> bool:
        """Tell whether a record of `time_ms` lies outside the window of what was entered then."""
        return bool(self._window_ms) and time_ms - entered_ms >= self._window_ms


def _time_of(entered: bytes) -> int:
    return int.from_bytes(entered[-_TIME_BYTES:], "big", signed=True)
