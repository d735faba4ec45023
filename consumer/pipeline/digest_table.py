"""Maps digests to short values of equal width, with a few bytes of overhead for each entry.

There are two implementations with one interface. ``_compiled.c`` is used if it was built. Otherwise
`PurePythonDigestTable` is used, which is slower. It is also the reference in tests.
docs/decisions/compiled-table.md has the reasons.

In the pure-Python table, the entries are packed in many small byte strings, the buckets. A lookup
is one ``find`` in one bucket, which the interpreter runs in C. The table grows by *linear hashing*.
After a fixed number of new entries it splits one bucket in two, in a fixed order of the buckets. So
a growing table is never rebuilt at once. Its buckets are equally full with ten thousand and with
ten million entries.

A ``dict`` of byte strings needs 200 bytes for an entry that takes about 44 bytes here: 16 for the
key, 16 for the value, and 12 of overhead. The measured figures and their command are in
docs/operations/sizing.md.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from consumer.pipeline.records import SourceRecord

KEY_BYTES: Final = 16
# Small buckets are searched faster, large buckets waste less memory. 16 entries of 32 bytes are 512
# bytes: the largest size that CPython's small-object allocator serves, without fragmentation.
ENTRIES_PER_BUCKET: Final = 16
_hash: Final = struct.Struct(f">{KEY_BYTES - 8}xQ").unpack


class PurePythonDigestTable:
    """Maps keys of 16 bytes to values of `value_bytes`.

    Keys must be digests, because only evenly distributed keys fill the buckets equally. Keys and
    values must have exactly these sizes. Other sizes corrupt the table: no method checks them.
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
        """Yield every key, in arbitrary order."""
        for bucket in self._buckets:
            for start in range(0, len(bucket), self._width):
                yield bytes(bucket[start : start + KEY_BYTES])

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        bucket, start = self._locate(key)
        if start < 0:
            return None
        return bytes(bucket[start + KEY_BYTES : start + self._width])

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return the value of each key in order, or None for a key without an entry."""
        return [self.get(key) for key in keys]

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of `key`."""
        bucket, start = self._locate(key)
        if start >= 0:
            bucket[start + KEY_BYTES : start + self._width] = value
            return
        bucket += key + value
        self._count += 1
        if self._count > len(self._buckets) * ENTRIES_PER_BUCKET:
            self._split()

    def reserve(self, count: int) -> None:
        """Allocate buckets for more than half of `count` entries, so that fewer splits follow.

        The number of buckets is a power of two. The call moves all present entries before it
        returns.
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
        """Set many keys. This takes half the time of a `put` for each key."""
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

    def put_records(
        self,
        records: Sequence[SourceRecord],
        start: int,
        prefix_of_key: bytes,
        prefix_of_value: bytes,
        least_value_bytes: int,
    ) -> int:
        """Set the entries that records hold, from record number `start` on.

        Stop before the first record that holds no entry, and return its number. A record holds an
        entry if its key is `prefix_of_key` and a digest, and its value begins with
        `prefix_of_value` and has at least `least_value_bytes`. The table stores the bytes after
        that prefix, as many as a value of this table has.
        """
        keys: list[bytes] = []
        values: list[bytes] = []
        key_begin, value_begin = len(prefix_of_key), len(prefix_of_value)
        key_end, value_end = key_begin + KEY_BYTES, value_begin + self._width - KEY_BYTES
        for record in islice(records, start, None):
            key, value = record.key, record.value
            if (
                key is None
                or value is None
                or len(key) != key_end
                or len(value) < least_value_bytes
                or key[:key_begin] != prefix_of_key
                or value[:value_begin] != prefix_of_value
            ):
                break
            keys.append(key[key_begin:])
            values.append(value[value_begin:value_end])
        self.put_all(keys, values)
        return start + len(keys)

    def drop(self, key: bytes) -> None:
        """Remove `key`, if present. The buckets stay allocated for later entries."""
        bucket, start = self._locate(key)
        if start >= 0:
            # The order of entries has no meaning, so the last entry fills the gap.
            last = bucket[-self._width :]
            bucket[start : start + self._width] = last
            del bucket[-self._width :]
            self._count -= 1

    def _locate(self, key: bytes) -> tuple[bytearray, int]:
        """Return the bucket of `key` and the start of its entry, or -1 if there is no entry."""
        (hashed,) = _hash(key)
        number = hashed & self._low_mask
        if number < self._next_split:
            number = hashed & (self._low_mask << 1 | 1)
        bucket = self._buckets[number]
        start = bucket.find(key)
        # The bytes of the key can also occur by chance at a position where no entry begins.
        while start > 0 and start % self._width:
            start = bucket.find(key, start + 1)
        return bucket, start

    def _split(self) -> None:
        """Split the next bucket: one more bit of the key selects the entries that move."""
        # The byte of the key that holds this bit. The key is one big-endian number.
        bytes_up, bit_up = divmod(self._low_mask.bit_length(), 8)
        byte, bit = KEY_BYTES - 1 - bytes_up, 1 << bit_up
        stay: list[bytes] = []
        go: list[bytes] = []
        for (entry,) in self._entries(self._buckets[self._next_split]):
            (go if entry[byte] & bit else stay).append(entry)
        # New objects of the exact size: a bucket that shrinks in place would keep its memory.
        self._buckets[self._next_split] = bytearray().join(stay)
        self._buckets.append(bytearray().join(go))
        self._next_split += 1
        if self._next_split > self._low_mask:
            self._next_split, self._low_mask = 0, self._low_mask << 1 | 1


if TYPE_CHECKING:
    DigestTable = PurePythonDigestTable
else:
    try:
        from consumer.pipeline._compiled import DigestTable
    except ImportError:  # it was installed without a C compiler
        DigestTable = PurePythonDigestTable
IMPLEMENTATION: Final = "pure Python" if DigestTable is PurePythonDigestTable else "compiled"
