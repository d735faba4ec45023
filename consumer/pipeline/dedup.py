"""The ids a shard has published: its memory, rebuilt from the changelog at every start.

An id is *seen* from the stream time at which it was published until the window has passed; with
no window, for ever. Its other contents (variants), each already a dead letter, age on their own.

Nothing here decides: `process` only reads, and what it decided is applied after the commit.
"""

from collections import deque
from operator import itemgetter
from typing import Generic, TypeVar

Variant = tuple[str, bytes]
SeenKey = str | Variant
_time = itemgetter(0)


Key = TypeVar("Key", str, Variant)


class _Ages(Generic[Key]):
    """When each key was put in, and all keys in that order.

    A key put in again leaves its old place in the queue behind; such places are passed over and
    disappear when they come to the front.
    """

    __slots__ = ("_queue", "_times")

    def __init__(self) -> None:
        self._times: dict[Key, int] = {}
        self._queue: deque[tuple[int, Key]] = deque()

    def of(self, key: Key) -> int:
        return self._times[key]

    def put(self, key: Key, time_ms: int) -> None:
        if self._times.get(key) != time_ms:
            self._times[key] = time_ms
            self._queue.append((time_ms, key))
        self._trim()

    def drop(self, key: Key) -> None:
        self._times.pop(key, None)
        self._trim()

    def until(self, last_ms: int, limit: int) -> list[tuple[int, Key]]:
        due: list[tuple[int, Key]] = []
        for place in self._queue:
            time_ms, key = place
            if time_ms > last_ms or len(due) >= limit:
                break
            if self._times.get(key) == time_ms:
                due.append(place)
        return due

    def _trim(self) -> None:
        queue, times = self._queue, self._times
        while queue and times.get(queue[0][1]) != queue[0][0]:
            queue.popleft()


class SeenIds:
    """The published ids of one shard, and the variants of them that were refused."""

    __slots__ = (
        "_digests",
        "_id_times",
        "_variant_times",
        "_variants",
        "_window_ms",
        "stream_time_ms",
    )

    def __init__(self, window_ms: int) -> None:
        """Start empty. `window_ms` 0: nothing ever expires, and no times are kept."""
        self.stream_time_ms = 0
        self._window_ms = window_ms
        self._digests: dict[str, bytes] = {}
        self._variants: set[Variant] = set()
        self._id_times = _Ages[str]()
        self._variant_times = _Ages[Variant]()

    def __len__(self) -> int:
        """Return how many ids are held, expired ones without a tombstone included."""
        return len(self._digests)

    def lookup(self, checkpoint_id: str, stream_time_ms: int) -> bytes | None:
        """Return the digest of the content that was published, unless it has expired."""
        digest = self._digests.get(checkpoint_id)
        if digest is None or not self._window_ms:
            return digest
        return None if self._is_past(self._id_times.of(checkpoint_id), stream_time_ms) else digest

    def has_variant(self, checkpoint_id: str, digest: bytes, stream_time_ms: int) -> bool:
        """Tell whether this content of the id already is a dead letter."""
        variant = (checkpoint_id, digest)
        if variant not in self._variants:
            return False
        return not (
            self._window_ms and self._is_past(self._variant_times.of(variant), stream_time_ms)
        )

    def remember(self, checkpoint_id: str, digest: bytes, stream_time_ms: int) -> None:
        """Take in a published id. Calls come in the order of stream time."""
        self._digests[checkpoint_id] = digest
        if self._window_ms:
            self._id_times.put(checkpoint_id, stream_time_ms)

    def remember_variant(self, checkpoint_id: str, digest: bytes, stream_time_ms: int) -> None:
        """Take in a refused variant. Calls come in the order of stream time."""
        self._variants.add((checkpoint_id, digest))
        if self._window_ms:
            self._variant_times.put((checkpoint_id, digest), stream_time_ms)

    def forget(self, checkpoint_id: str) -> None:
        """Drop an id; an unknown one is no error."""
        self._digests.pop(checkpoint_id, None)
        self._id_times.drop(checkpoint_id)

    def forget_variant(self, checkpoint_id: str, digest: bytes) -> None:
        """Drop a variant; an unknown one is no error."""
        self._variants.discard((checkpoint_id, digest))
        self._variant_times.drop((checkpoint_id, digest))

    def expired(self, stream_time_ms: int, limit: int) -> list[SeenKey]:
        """Return what a tombstone is due for, oldest first, at most `limit`; nothing changes."""
        if not self._window_ms:
            return []
        last_ms = stream_time_ms - self._window_ms
        due: list[tuple[int, SeenKey]] = [
            *self._id_times.until(last_ms, limit),
            *self._variant_times.until(last_ms, limit),
        ]
        due.sort(key=_time)
        return [key for _, key in due[:limit]]

    def is_expired(self, inserted_ms: int, stream_time_ms: int) -> bool:
        """Tell whether what was inserted at `inserted_ms` is outside the window."""
        return bool(self._window_ms) and self._is_past(inserted_ms, stream_time_ms)

    def _is_past(self, inserted_ms: int, stream_time_ms: int) -> bool:
        return stream_time_ms - inserted_ms >= self._window_ms
