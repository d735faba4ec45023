"""Draws record batches of which something is unusual, from a seed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode

from tests.batches.build import batch, field, message, record, repaired, varint

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

EDGES = (0, 1, -1, 2, 63, 64, 127, 128, -128, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31))
LONG_EDGES = (*EDGES, 2**63 - 1, -(2**63), 2**32, 2**32 + 1)
NAMES = (b"name", b"", b"\xff\xfe", "snow\u2603".encode(), b"a" * 200)
CONTENTS = (None, b"", b"x", b"value" * 30, b"\0" * 9, b"{}" * 5000)
PARTS: dict[int, Callable[[bytes], bytes]] = {
    1: gzip_encode,
    2: snappy_encode,
    3: lz4_encode,
    4: zstd_encode,
}
CONTROL = 0x20
FIXED_FIELDS = {  # position and format of the fields that a checksum covers
    "attributes": (21, ">h", tuple(edge & ~CONTROL for edge in EDGES)),  # brokers alone set that
    "last_offset_delta": (23, ">i", EDGES),
    "base_timestamp": (27, ">q", LONG_EDGES),
    "max_timestamp": (35, ">q", LONG_EDGES),
    "producer_id": (43, ">q", LONG_EDGES),
    "record_count": (57, ">i", EDGES),
}


def draw(rng: random.Random) -> bytes:
    """Return the bytes of a fetch: one batch."""
    base_offset, count = rng.choice((0, 0, 1, 1000)), rng.choice((1, 2, 3, 7))
    if rng.random() < 0.2:
        return draw_legacy(rng, base_offset, count)
    return draw_batch(rng, base_offset, count)


def draw_batch(rng: random.Random, base_offset: int, count: int) -> bytes:
    """Return a batch of format v2 with a valid checksum."""
    records = b"".join(draw_record(rng, number) for number in range(count))
    if rng.random() < 0.1:
        records = damaged(rng, records)
    codec = rng.choice((0, 0, 1, 2, 3, 4))
    log_append_time = rng.choice((0, 0, 8))
    raw = batch(
        compressed(rng, codec, records),
        count,
        base_offset=base_offset,
        attributes=codec | log_append_time,
        max_timestamp=rng.choice((None, 5, -1)),
        last_offset_delta=rng.choice((None, None, None, count + 3)),
    )
    if rng.random() < 0.15:
        place, layout, edges = FIXED_FIELDS[rng.choice(sorted(FIXED_FIELDS))]
        changed = bytearray(raw)
        struct.pack_into(layout, changed, place, rng.choice(_fitting(layout, edges)))
        raw = repaired(bytes(changed))
    if rng.random() < 0.05:
        raw = repaired(raw[:61] + damaged(rng, raw[61:]))
    return raw


def draw_record(rng: random.Random, number: int) -> bytes:
    """Return a record, mostly a sound one."""
    if rng.random() < 0.7:
        headers = [(rng.choice(NAMES), rng.choice(CONTENTS)) for _ in range(rng.choice((0, 0, 2)))]
        return record(number, rng.choice(CONTENTS), key=rng.choice(CONTENTS), headers=headers)
    attributes = rng.choice((0, 0x80, 0xFF, 1, 0x7F))
    parts = [
        bytes([attributes]),
        number_bytes(rng, rng.choice((0, *LONG_EDGES)), 64),
        number_bytes(rng, number if rng.random() < 0.7 else rng.choice(EDGES), 32),
        sized(rng, rng.choice(CONTENTS)),
        sized(rng, rng.choice(CONTENTS)),
        number_bytes(rng, rng.choice((0, 0, 0, 1, -1, 2**31 - 1)), 32),
    ]
    if rng.random() < 0.3:
        parts.append(field(rng.choice(NAMES)) + field(rng.choice(CONTENTS)))
    body = b"".join(parts)
    size = len(body) if rng.random() < 0.9 else len(body) + rng.choice((-1, 1, 128, -300))
    return number_bytes(rng, size, 32) + body


def number_bytes(rng: random.Random, number: int, bits: int) -> bytes:
    """Return a varint, at times longer than it need be, with bits that its type does not hold."""
    shortest = varint(number)
    longest = 5 if bits == 32 else 10
    if rng.random() < 0.8 or len(shortest) >= longest:
        return shortest
    padded = bytearray(shortest)
    padded[-1] |= 0x80
    padded += b"\x80" * (longest - 1 - len(padded)) + bytes([rng.choice((0, 0x70, 0x10, 0x7F))])
    return bytes(padded)


def sized(rng: random.Random, content: bytes | None) -> bytes:
    """Return a key or value behind a length that may be wrong."""
    size = -1 if content is None else len(content)
    if rng.random() < 0.05:
        size = rng.choice(EDGES)
    return number_bytes(rng, size, 32) + (content or b"")


def compressed(rng: random.Random, codec: int, plain: bytes) -> bytes:
    """Return records as a codec writes them, or as an odd producer of that codec does."""
    if not codec:
        return plain
    if codec == 2 and rng.random() < 0.3:
        raw: bytes = snappy_encode(plain, xerial_compatible=False)
        return raw
    whole = PARTS[codec](plain)
    kind = rng.random()
    if kind < 0.6:
        return whole
    if kind < 0.75:
        return whole + rng.choice((b"\0", b"junk", b"\0" * 40, whole, b"\x1f\x8b\x08"))
    if kind < 0.85:
        half = len(plain) // 2
        return PARTS[codec](plain[:half]) + PARTS[codec](plain[half:])
    return damaged(rng, whole)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return bytes of which one is changed, or the end is cut or longer."""
    if not content:
        return b"\x01"
    kind = rng.random()
    if kind < 0.3:
        return content[: rng.randrange(len(content))]
    if kind < 0.5:
        return content + bytes([rng.randrange(256)])
    changed = bytearray(content)
    changed[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(changed)


def draw_legacy(rng: random.Random, base_offset: int, count: int) -> bytes:
    """Return messages of v0 or v1 with valid outer checksums: plain ones, or one wrapper."""
    magic = rng.choice((0, 1))
    attributes = rng.choice((0, 0, 8)) if magic else 0
    if rng.random() < 0.4:
        return b"".join(
            message(base_offset + number, rng.choice(CONTENTS), magic=magic, attributes=attributes)
            for number in range(count)
        )
    inner = b"".join(
        message(
            number if magic else base_offset + number,
            rng.choice(CONTENTS),
            key=rng.choice(CONTENTS),
            magic=magic if rng.random() < 0.95 else 1 - magic,
            attributes=rng.choice((0,) * 9 + (1,)),
        )
        for number in range(count)
    )
    if rng.random() < 0.2:
        inner = damaged(rng, inner)
    codec = rng.choice((1, 2, 3) if magic else (1, 2))
    value = compressed(rng, codec, inner) if rng.random() < 0.95 else None
    return message(base_offset + count - 1, value, magic=magic, attributes=attributes | codec)


def _fitting(layout: str, edges: tuple[int, ...]) -> list[int]:
    limit = 1 << (8 * struct.calcsize(layout) - 1)
    return [edge for edge in edges if -limit <= edge < limit]
