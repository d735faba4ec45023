"""Decompresses record batches within a limit, and accepts what the Java client accepts.

A broker limits only the stored size of a batch, and a batch of a megabyte can inflate to gigabytes.
So every codec stops at a limit. Producers also write streams that Java reads and other decoders
refuse: bytes after the end of a gzip or lz4 stream, wrong lz4 content checksums, several snappy
streams. If this module refused such a batch, its checkpoints would become a dead letter.
"""

import mmap
import struct
import zlib
from typing import Final

import cramjam

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
LEAST_LIMIT_BYTES: Final = 64 * 1024 * 1024
# JSON compresses to about a tenth, and even the largest batch that a topic accepts must be read. So
# the limit is this multiple of that batch's stored size.
LIMIT_RATIO: Final = 16
# A checkpoint is longer than this. So a regular batch within the limit of bytes has fewer records
# than that limit divided by this length.
LEAST_RECORD_BYTES: Final = 160
# A scratch buffer that held more than this is released instead of kept for the next batch.
KEPT_SCRATCH_BYTES: Final = 4 * 1024 * 1024
# cramjam raises the same class for all errors. This text shows that the output buffer is full.
_OVERFLOW_MESSAGE: Final = "failed to write whole buffer"
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_GZIP_HEADER_BYTES, _GZIP_TRAILER_BYTES = 10, 8
_GZIP_HEADER_CHECKSUM, _GZIP_EXTRA, _GZIP_NAME, _GZIP_COMMENT = 2, 4, 8, 16
_GZIP_FRAME_BYTES: Final = 18  # a header and a trailer: Java ignores a rest of up to this length
_GZIP_PIECE_BYTES: Final = 4096
_RAW_DEFLATE: Final = -15  # zlib: the largest window, no header and no trailer
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_LZ4_MAGIC: Final = 0x184D2204
_LZ4_LEAST_BLOCK_BYTES: Final = 64 * 1024  # the lowest size of a frame's blocks, except the last
_LZ4_STORED: Final = 0x80000000
_LZ4_INDEPENDENT, _LZ4_BLOCK_CHECKSUM, _LZ4_CONTENT_SIZE, _LZ4_CONTENT_CHECKSUM = 32, 16, 8, 4
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SINGLE_SEGMENT, _ZSTD_CHECKSUM = 32, 4
_ZSTD_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_ZSTD_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
_ZSTD_RLE: Final = 1
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"  # after a first byte of 0x50 to 0x5f
_int32_be: Final = struct.Struct(">i").unpack_from
_gzip_trailer: Final = struct.Struct("<II").pack
_uint32_le: Final = struct.Struct("<I").unpack_from


class TakesTooMuch(Exception):
    """A batch would exceed a memory limit. The message continues a sentence about the batch."""


class Inflater:
    """Decompresses with one size limit for the whole process."""

    def __init__(self) -> None:
        self.limit_bytes = LEAST_LIMIT_BYTES
        self._scratch: mmap.mmap | None = None

    @property
    def max_records(self) -> int:
        """The limit of records in a compressed batch: each record takes several Python objects."""
        return self.limit_bytes // LEAST_RECORD_BYTES

    def allow_for(self, largest_batch_bytes: int) -> None:
        """Raise the limit so that regular batches of this stored size can be decompressed."""
        limit_bytes = max(self.limit_bytes, LIMIT_RATIO * largest_batch_bytes)
        if limit_bytes > self.limit_bytes:
            self.limit_bytes, self._scratch = limit_bytes, None

    def inflate(self, codec: int, payload: bytes) -> bytes:
        """Return the decompressed payload; `codec` is the number in the batch's attributes.

        Raises:
            TakesTooMuch: the result would exceed the limit.
            ValueError, zlib.error, cramjam.DecompressionError: the payload is invalid.
        """
        if codec == GZIP:
            return self._gzip(payload)
        if codec == SNAPPY:
            return self._snappy(payload)
        if codec == LZ4:
            return self._lz4(payload)
        if codec == ZSTD:
            return self._zstd(payload)
        raise ValueError(f"unknown compression codec {codec}")

    def _too_much(self) -> TakesTooMuch:
        return TakesTooMuch(f"inflates to more than {self.limit_bytes} bytes")

    def _gzip(self, payload: bytes) -> bytes:
        """Read every member; ignore the bytes after the last member, as Java does."""
        parts: list[bytes] = []
        position, room_bytes = _gzip_header_end(payload, 0), self.limit_bytes
        while True:
            content, position = _gzip_member(payload, position, room_bytes + 1)
            if len(content) > room_bytes:
                raise self._too_much()
            parts.append(content)
            room_bytes -= len(content)
            if len(payload) - position <= _GZIP_FRAME_BYTES:
                break
            try:
                position = _gzip_header_end(payload, position)
            except ValueError:
                break
        return b"".join(parts)

    def _snappy(self, payload: bytes) -> bytes:
        """Read one raw block, or several blocks in the framing of xerial, Java's snappy library."""
        blocks = list(_xerial_blocks(payload)) if _is_xerial(payload) else [payload]
        # A block declares its size. Allocate nothing before the sum is known.
        sizes_bytes = [cramjam.snappy.decompress_raw_len(block) for block in blocks]
        if sum(sizes_bytes) > self.limit_bytes:
            raise self._too_much()
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)

    def _lz4(self, payload: bytes) -> bytes:
        """Read the first frame; Java ignores the bytes after it."""
        frame = payload[: _lz4_frame_bytes(payload)]
        try:
            return self._into_scratch(cramjam.lz4, frame)
        except cramjam.DecompressionError:
            # Java does not verify the content checksum, and in v0 messages the header checksum is
            # wrong (KAFKA-3160). Reading by blocks skips both checks.
            return self._lz4_by_blocks(frame)

    def _lz4_by_blocks(self, frame: bytes) -> bytes:
        flags, position = frame[4], _lz4_header_bytes(frame)
        if not flags & _LZ4_INDEPENDENT:
            raise ValueError("lz4 blocks that depend on each other")
        block_bytes = 1 << (8 + 2 * (frame[5] >> 4 & 7))
        inflated, size_bytes = [], 0
        while field := _uint32_le(frame, position)[0]:
            block = frame[position + 4 : position + 4 + (field & ~_LZ4_STORED)]
            position += 4 + len(block) + (4 if flags & _LZ4_BLOCK_CHECKSUM else 0)
            if not field & _LZ4_STORED:
                block = bytes(cramjam.lz4.decompress_block(block, output_len=block_bytes))
            inflated.append(block)
            size_bytes += len(block)
            if size_bytes > self.limit_bytes:
                raise self._too_much()
            if len(inflated) > self.limit_bytes // _LZ4_LEAST_BLOCK_BYTES:
                raise ValueError("more lz4 blocks than any content needs")
        return b"".join(inflated)

    def _zstd(self, payload: bytes) -> bytes:
        """Read every complete frame; ignore an incomplete frame at the end, as Java does."""
        try:
            return self._into_scratch(cramjam.zstd, payload)
        except cramjam.DecompressionError:
            complete_bytes = _zstd_frames_bytes(payload)
            rest = payload[complete_bytes:]
            if not complete_bytes or not rest or not _begins_zstd_frame(rest):
                raise
            return self._into_scratch(cramjam.zstd, payload[:complete_bytes])

    def _into_scratch(self, codec_module: object, payload: bytes) -> bytes:
        # Anonymous memory: the system allocates a page when it is first written.
        if self._scratch is None:
            self._scratch = mmap.mmap(-1, self.limit_bytes)
        scratch, size_bytes = self._scratch, self.limit_bytes
        try:
            size_bytes = codec_module.decompress_into(payload, scratch)  # type: ignore[attr-defined]  # cramjam's modules share no type
            return scratch[:size_bytes]
        except cramjam.DecompressionError as error:
            if _OVERFLOW_MESSAGE in str(error):
                raise self._too_much() from None
            raise
        finally:
            if size_bytes > KEPT_SCRATCH_BYTES:
                self._scratch = None


inflater: Final = Inflater()


def _gzip_header_end(payload: bytes, begin: int) -> int:
    """Return the position after a member's header (RFC 1952). Ignore reserved flags, as Java does.

    Raises:
        ValueError: there is no header, or it is incomplete.
    """
    end = begin + _GZIP_HEADER_BYTES
    if len(payload) < end or not payload.startswith(_GZIP_MAGIC, begin):
        raise ValueError("no gzip stream")
    flags = payload[begin + 3]
    if flags & _GZIP_EXTRA:
        end += 2 + int.from_bytes(payload[end : end + 2], "little")
    for flag in (_GZIP_NAME, _GZIP_COMMENT):
        if flags & flag:
            end = payload.index(b"\0", end) + 1
    if flags & _GZIP_HEADER_CHECKSUM:
        checksum = zlib.crc32(memoryview(payload)[begin:end]) & 0xFFFF
        if checksum.to_bytes(2, "little") != payload[end : end + 2]:
            raise ValueError("the gzip header has a wrong checksum")
        end += 2
    if end > len(payload):
        raise ValueError("the gzip header is cut off")
    return end


def _gzip_member(payload: bytes, position: int, most_bytes: int) -> tuple[bytes, int]:
    """Return a member's content, at most `most_bytes` of it, and the position after its trailer.

    Pass the input in short pieces. At the end of a member zlib copies the rest of the piece. With
    one large piece it would copy the rest of the stream after every short member.

    Raises:
        ValueError: the member is incomplete, or its trailer does not match its content.
    """
    member = zlib.decompressobj(_RAW_DEFLATE)
    parts, room_bytes = [], most_bytes
    while not member.eof and room_bytes and position < len(payload):
        piece = payload[position : position + _GZIP_PIECE_BYTES]
        parts.append(member.decompress(piece, room_bytes))
        room_bytes -= len(parts[-1])
        position += len(piece) - len(member.unused_data)
    content = b"".join(parts)
    if not room_bytes:
        return content, position
    end = position + _GZIP_TRAILER_BYTES
    if not member.eof or end > len(payload):
        raise ValueError("the gzip stream is cut off")
    if payload[position:end] != _gzip_trailer(zlib.crc32(content), len(content) & 0xFFFFFFFF):
        raise ValueError("the gzip stream has a wrong checksum or size")
    return content, end


def _is_xerial(payload: bytes) -> bool:
    return len(payload) >= _XERIAL_HEADER_BYTES and payload.startswith(_XERIAL_MAGIC)


def _xerial_blocks(payload: bytes) -> list[bytes]:
    """Return the compressed blocks of snappy streams that follow one another."""
    blocks, position = [], _XERIAL_HEADER_BYTES
    # Ignore up to three bytes at the end, as Java does: they are too short for a block's size.
    while position + 4 <= len(payload):
        if payload.startswith(_XERIAL_MAGIC[:4], position):
            if not payload.startswith(_XERIAL_MAGIC, position):  # Java stops here without an error
                break
            position += _XERIAL_HEADER_BYTES
            continue
        (size_bytes,) = _int32_be(payload, position)
        block = payload[position + 4 : position + 4 + size_bytes] if size_bytes >= 0 else b""
        if len(block) != size_bytes:
            raise ValueError("a snappy block has a size that the stream does not hold")
        blocks.append(block)
        position += 4 + size_bytes
    return blocks


def _lz4_header_bytes(frame: bytes) -> int:
    """Return the length of a frame's header: magic, two flag bytes, sizes, checksum."""
    return 7 + (8 if frame[4] & _LZ4_CONTENT_SIZE else 0)


def _lz4_frame_bytes(payload: bytes) -> int:
    """Return the length of the first frame.

    Raises:
        ValueError: there is no frame, or it is incomplete.
    """
    try:
        if _uint32_le(payload)[0] != _LZ4_MAGIC:
            raise ValueError("no lz4 frame")
        flags, position = payload[4], _lz4_header_bytes(payload)
        while field := _uint32_le(payload, position)[0]:
            position += 4 + (field & ~_LZ4_STORED) + (4 if flags & _LZ4_BLOCK_CHECKSUM else 0)
    except (IndexError, struct.error):
        raise ValueError("the lz4 frame is cut off") from None
    return position + 4 + (4 if flags & _LZ4_CONTENT_CHECKSUM else 0)


def _zstd_frames_bytes(payload: bytes) -> int:
    """Return the total length of the complete frames at the beginning (RFC 8878)."""
    complete_bytes = 0
    try:
        while complete_bytes < len(payload):
            end = _zstd_frame_end(payload, complete_bytes)
            if end > len(payload):
                break
            complete_bytes = end
    except (IndexError, struct.error, ValueError):
        pass
    return complete_bytes


def _zstd_frame_end(payload: bytes, position: int) -> int:
    if payload[position + 1 : position + 4] == _ZSTD_SKIPPABLE:
        return position + 8 + int(_uint32_le(payload, position + 4)[0])
    if not payload.startswith(_ZSTD_MAGIC, position):
        raise ValueError("no zstd frame")
    descriptor = payload[position + 4]
    is_single = bool(descriptor & _ZSTD_SINGLE_SEGMENT)
    size_bytes = _ZSTD_CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single)
    position += 5 + (not is_single) + _ZSTD_DICTIONARY_BYTES[descriptor & 3] + size_bytes
    is_last = False
    while not is_last:
        block = int.from_bytes(payload[position : position + 3], "little")
        if position + 3 > len(payload):
            raise ValueError("the zstd frame is cut off")
        is_last = bool(block & 1)
        position += 3 + (1 if block >> 1 & 3 == _ZSTD_RLE else block >> 3)
    return position + (4 if descriptor & _ZSTD_CHECKSUM else 0)


def _begins_zstd_frame(rest: bytes) -> bool:
    """Return whether the bytes can be the beginning of a frame."""
    magic = rest[: len(_ZSTD_MAGIC)]
    if _ZSTD_MAGIC.startswith(magic):
        return True
    is_skippable = magic[0] >> 4 == 5  # noqa: PLR2004 - 0x50 to 0x5f
    return is_skippable and _ZSTD_SKIPPABLE.startswith(magic[1:])
