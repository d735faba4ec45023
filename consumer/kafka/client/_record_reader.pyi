# The types of ``_record_reader.c``, which has the documentation.

from typing import final

from consumer.pipeline.records import SourceRecord

@final
class BatchReader:
    def __new__(
        cls,
        buffer: bytes,
        base_offset: int,
        end_offset: int,
        record_count: int,
        base_timestamp: int,
        append_timestamp: int | None,
        most_headers: int,
    ) -> BatchReader: ...
    def read(
        self,
        position: int,
        index: int,
        next_offset: int,
        most_records: int,
        limit: int,
        /,
    ) -> tuple[list[SourceRecord], int, int]: ...
