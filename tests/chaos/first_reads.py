"""The fingerprints of the reads during the run; a later read must find the same records."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tests.chaos.fingerprints import NO_FINGERPRINT, record_fingerprint

if TYPE_CHECKING:
    from tests.chaos.findings import Findings
    from tests.support.reader import Record

KIND = "a read went back on an earlier one"
Place = tuple[str, int]


class FirstReads:
    """One number for each offset that was read."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._seen: dict[Place, array[int]] = {}

    def note(self, record: Record) -> None:
        """Remember a record that was read for the first time."""
        seen = self._seen.setdefault((record.topic, record.partition), array("q"))
        if record.offset < len(seen):
            self._findings.add(
                KIND, f"{record.place} came after offset {len(seen) - 1} of that partition"
            )
            return
        seen.extend([NO_FINGERPRINT] * (record.offset - len(seen)))
        seen.append(record_fingerprint(record))

    def positions(self, topic: str) -> dict[int, int]:
        """Return the offset after the last record that was read of each partition."""
        return {p: len(seen) for (name, p), seen in self._seen.items() if name == topic}

    def compare(self, record: Record) -> None:
        """Compare a record of the second read with the first read of that offset."""
        seen = self._seen.get((record.topic, record.partition))
        if seen is None or record.offset >= len(seen):
            return
        before, seen[record.offset] = seen[record.offset], NO_FINGERPRINT
        if before == NO_FINGERPRINT:
            self._findings.add(
                KIND,
                f"{record.place} is there now; a reader that was beyond it already never saw it",
            )
        elif before != record_fingerprint(record):
            self._findings.add(KIND, f"{record.place} is another record than when first read")

    def require_all_found(self, topics: tuple[str, ...]) -> None:
        """Report the records of these topics that only the first read found."""
        for (topic, partition), seen in sorted(self._seen.items()):
            if topic not in topics:
                continue
            for offset, left in enumerate(seen):
                if left != NO_FINGERPRINT:
                    self._findings.add(
                        KIND, f"{topic}/{partition} at offset {offset} was read once, is gone now"
                    )
