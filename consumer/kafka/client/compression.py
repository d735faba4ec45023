"""Compresses the records of a batch when the batch is built.

The header of a batch is never compressed (KIP-98, message format v2). So the records are replaced,
and with them the length, the codec in the attributes, and the checksum.
"""

import struct
from typing import Final

import cramjam

from consumer.kafka.client import partition_batches
from consumer.kafka.client.private_api import RecordsBuilder

NO_COMPRESSION: Final = "none"
_HEADER_BYTES: Final = 61
_LENGTH: Final = struct.Struct(">i")
_LENGTH_POSITION: Final = 8
_LENGTH_COUNTS_FROM: Final = 12
_CHECKSUM: Final = struct.Struct(">I")
_CHECKSUM_POSITION: Final = 17
_ATTRIBUTES: Final = struct.Struct(">h")
_ATTRIBUTES_POSITION: Final = 21  # the checksum covers all bytes from here on
_LZ4_LEVEL: Final = 1  # fast, as the Java client's default
_ZSTD_LEVEL: Final = 3  # the Java client's default (KIP-390)


def _lz4(records: bytes) -> bytes:
    # Brokers refuse blocks that depend on each other (KIP-57).
    compressor = cramjam.lz4.Compressor(
        level=_LZ4_LEVEL, content_checksum=False, block_linked=False
    )
    compressor.compress(records)
    return bytes(compressor.finish())


def _zstd(records: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(records, level=_ZSTD_LEVEL))


# The codec's number in the attributes of a batch, and the function that compresses.
_CODECS: Final = {"lz4": (3, _lz4), "zstd": (4, _zstd)}


class CompressedBuilder:
    """Builds a batch with compressed records, from the builder of the same batch without it."""

    def __init__(self, builder: RecordsBuilder, compression_type: str) -> None:
        """`compression_type` is ``lz4`` or ``zstd``."""
        self.record_count = builder.record_count
        self.set_producer_state = builder.set_producer_state
        self.size = builder.size
        self._build = builder.build
        self._codec, self._compress = _CODECS[compression_type]

    def build(self) -> bytes | bytearray:
        """Return the batch, uncompressed if the compressed records are not smaller."""
        batch = self._build()
        records = self._compress(bytes(memoryview(batch)[_HEADER_BYTES:]))
        if len(records) >= len(batch) - _HEADER_BYTES:
            return batch
        compressed = bytearray(batch[:_HEADER_BYTES]) + records
        _LENGTH.pack_into(compressed, _LENGTH_POSITION, len(compressed) - _LENGTH_COUNTS_FROM)
        (attributes,) = _ATTRIBUTES.unpack_from(compressed, _ATTRIBUTES_POSITION)
        _ATTRIBUTES.pack_into(compressed, _ATTRIBUTES_POSITION, attributes | self._codec)
        content = bytes(compressed)
        checksum = partition_batches.crc32c(content, _ATTRIBUTES_POSITION)
        _CHECKSUM.pack_into(compressed, _CHECKSUM_POSITION, checksum)
        return compressed


def builder_for(builder: RecordsBuilder, compression_type: str) -> RecordsBuilder:
    """Return a builder that compresses by this type; ``none`` gives the same builder."""
    if compression_type == NO_COMPRESSION:
        return builder
    return CompressedBuilder(builder, compression_type)
