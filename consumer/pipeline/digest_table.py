"""A map from digests to short values of one width: millions of them, a few bytes over their own.

Entries lie packed in many small byte strings, the buckets. A search is one ``find`` in one bucket,
which the interpreter does in C. The table grows by *linear hashing*: every so many new entries one
bucket is split in two, in an order of its own. So a growing table never stands still to be
rebuilt, and its buckets are as full with ten thousand entries as with ten million.

A ``dict`` of byte strings needs 200 bytes for what takes 16 + 16 + about 12 here; the figures and
their command are in docs/operations/sizing.md.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

KEY_BYTES: Final = 16
# Small buckets are searched quickly; large ones waste less. 16 entries of 32 bytes are 512 bytes,
# up to which CPython's own small-object allocator serves, and fragments nothing.
ENTRIES_PER_BUCKET: Final = 16
_hash: Final = struct.Struct(f">{KEY_BYTES - 8}xQ").unpack


class DigestTable:
    """Maps keys of 16 bytes to values of `value_bytes`; the keys must be evenly spread (digests).

    Wider or narrower keys and values are the caller's bug and corrupt the table: the hot path does
    not check them.
    """

    __slots__ = ("_buckets", "_count", "_entries", "_low_mask", "_next_split", "_width")

    def __init__(self, value_bytes: int) -> None:
        self._width = KEY_BYTES + value_bytes
        self._entries = struct.Struct(f"{self._width}s").iter_unpack
        self._buckets = [bytearray()]
        self._low_mask = 0
        self._next_split = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Yield every key, in no meaningful order."""
        for bucket in self._buckets:
            for place in range(0, len(bucket), self._width):
                yield bytes(bucket[place : place + KEY_BYTES])

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        bucket, place = self._locate(key)
        if place < 0:
            return None
        return bytes(bucket[place + KEY_BYTES : place + self._width])

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of `key`."""
        bucket, place = self._locate(key)
        if place >= 0:
            bucket[place + KEY_BYTES : place + self._width] = value
            return
        bucket += key + value
        self._count += 1
        if self._count > len(self._buckets) * ENTRIES_PER_BUCKET:
            self._split()

    def reserve(self, count: int) -> None:
        """Make the table fit for `count` entries or a little less: growing costs time.

        The entries that are there move, so this blocks for as long as they take.
        """
        doublings = max(0, (count // ENTRIES_PER_BUCKET).bit_length() - 1)
        if 1 << doublings <= len(self._buckets):
            return
        before, key_bytes = self._buckets, KEY_BYTES
        self._buckets = [bytearray() for _ in range(1 << doublings)]
        self._low_mask, self._next_split = (1 << doublings) - 1, 0
        for bucket in before:
            for (entry,) in self._entries(bucket):
                (hashed,) = _hash(entry[:key_bytes])
                self._buckets[hashed & self._low_mask] += entry

    def put_all(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        """Set many keys, as `put` does; without its calls twice as fast, for a restore."""
        buckets, hash_of = self._buckets, _hash
        for key, value in zip(keys, values, strict=True):
            (hashed,) = hash_of(key)
            number = hashed & self._low_mask
            if number < self._next_split:
                number = hashed & (self._low_mask << 1 | 1)
            bucket = buckets[number]
            if bucket.find(key) >= 0:
                self.put(key, value)
                continue
            bucket += key + value
            self._count += 1
            if self._count > len(buckets) * ENTRIES_PER_BUCKET:
                self._split()

    def drop(self, key: bytes) -> None:
        """Remove `key`; an unknown one is no error. The buckets stay, for what comes next."""
        bucket, place = self._locate(key)
        if place >= 0:
            # An entry's place means nothing, so the last one fills the gap.
            last = bucket[-self._width :]
            bucket[place : place + self._width] = last
            del bucket[-self._width :]
            self._count -= 1

    def _locate(self, key: bytes) -> tuple[bytearray, int]:
        """Return the bucket of `key`, and where in it its entry begins: below 0 where none does."""
        (hashed,) = _hash(key)
        number = hashed & self._low_mask
        if number < self._next_split:
            number = hashed & (self._low_mask << 1 | 1)
        bucket = self._buckets[number]
        place = bucket.find(key)
        # The bytes may also lie across two entries.
        while place > 0 and place % self._width:
            place = bucket.find(key, place + 1)
        return bucket, place

    def _split(self) -> None:
        """Share the entries of the bucket whose turn it is with a new one, by one more bit."""
        # The byte of an entry that holds the bit; the key counts as one big-endian number.
        bytes_up, bit_up = divmod(self._low_mask.bit_length(), 8)
        place, bit = KEY_BYTES - 1 - bytes_up, 1 << bit_up
        stay: list[bytes] = []
        go: list[bytes] = []
        for (entry,) in self._entries(self._buckets[self._next_split]):
            (go if entry[place] & bit else stay).append(entry)
        # New objects of the right size: a bucket that has shrunk would keep its room.
        self._buckets[self._next_split] = bytearray().join(stay)
        self._buckets.append(bytearray().join(go))
        self._next_split += 1
        if self._next_split > self._low_mask:
            self._next_split, self._low_mask = 0, self._low_mask << 1 | 1
