"""The verdict about a whole history, in one pass: first the input, then the output topics.

Pure: records in, violations out. The meaning of an input record says what must be published; the
service's code is not used.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.chaos.contents import VARIANTS, content_of
from tests.chaos.findings import shown
from tests.chaos.fingerprints import content_fingerprint
from tests.chaos.input_book import InputBook
from tests.support.verdicts import CONFLICT, READY_TYPE, parse_dead_letter, publisher_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.findings import Findings
    from tests.chaos.input_book import InputEntry
    from tests.support.reader import Record
    from tests.support.topics import Topics

NO_SHARD = 255
UNKNOWN = 254

LOST = "lost"
TWICE = "published twice"
WRONG_EVENT = "wrong ready event"
WRONG_LETTER = "wrong dead letter"
LETTER_TWICE = "dead letter twice"
ORDER = "order"
CHANGELOG = "changelog and ready topic differ"


class Judge:
    """Takes the topics one after the other: input, ready, dead letters, changelog."""

    def __init__(self, topics: Topics, findings: Findings) -> None:
        self.book = InputBook()
        self.published = self.dead_letters = self.conflicting = 0
        self._topics = topics
        self._findings = findings
        # By index of the id: the content that was published, the shard that did it, the refused
        # contents (a bit for each), the changelog's partition.
        self._published_variant = bytearray()
        self._publisher = bytearray()
        self._refused = bytearray()
        self._entered = bytearray()
        self._dead_letter_sources: set[tuple[int, int]] = set()
        self._last_ready: dict[tuple[int, int, int], int] = {}
        self._last_letter: dict[int, int] = {}

    def take_input(self, record: Record) -> None:
        """Take a record of the input."""
        try:
            self.book.add(record)
        except (ValueError, KeyError) as error:
            self._findings.add("foreign input", f"{record.place}: {error}")

    def end_input(self) -> None:
        """Prepare for the outputs: all of the input was taken."""
        count = len(self.book.ids)
        self._published_variant = bytearray([NO_SHARD]) * count
        self._publisher = bytearray([NO_SHARD]) * count
        self._entered = bytearray([NO_SHARD]) * count
        self._refused = bytearray(count)

    def take_ready(self, record: Record) -> None:
        """Take a ready event; those of a partition come in the order of their offsets."""
        self.published += 1
        try:
            event = json.loads(record.value or b"")
            one, data = event["id"], event["data"]
            origin = data["origin"]
            partition, offset = int(origin["partition"]), int(origin["offset"])
            shard = self._shard_of(record)
        except (ValueError, KeyError, TypeError) as error:
            self._findings.add(WRONG_EVENT, f"{record.place} cannot be understood: {error!r}")
            return
        source = (
            self.book.find(partition, offset) if origin["topic"] == self._topics.input else None
        )
        where = f"{record.place} (id {shown(one)}, origin {partition}/{offset})"
        if source is None or source.meaning.checkpoint_id != one:
            source = None
            self._findings.add(WRONG_EVENT, f"{where}: its origin is no input record of that id")
            index = self.book.index(one)
        else:
            index = source.subject
            self._compare_event(event, record, source, where)
        if index is None:
            self._findings.add(WRONG_EVENT, f"{where}: no such id was ever sent")
            return
        if self._published_variant[index] != NO_SHARD:
            self._findings.add(TWICE, f"id {shown(one)} has one more ready event, {where}")
        else:
            self._published_variant[index] = UNKNOWN if source is None else source.meaning.variant
            self._publisher[index] = shard
        self._require_order(record, partition, offset, shard)

    def take_dead_letter(self, record: Record) -> None:
        """Take a dead letter."""
        self.dead_letters += 1
        try:
            letter = parse_dead_letter(record)
        except (ValueError, KeyError) as error:
            self._findings.add(WRONG_LETTER, f"{record.place} cannot be understood: {error!r}")
            return
        partition, offset, reason = letter.partition, letter.offset, letter.reason
        where = f"{record.place} (origin {partition}/{offset}, {reason})"
        source = self.book.find(partition, offset) if letter.topic == self._topics.input else None
        if source is None:
            self._findings.add(WRONG_LETTER, f"{where}: its origin is no record of the input")
            return
        if (partition, offset) in self._dead_letter_sources:
            self._findings.add(LETTER_TWICE, f"{where}: that record has a dead letter already")
            return
        self._dead_letter_sources.add((partition, offset))
        if (
            content_fingerprint(letter.key, letter.value, letter.source_headers)
            != source.fingerprint
        ):
            self._findings.add(
                WRONG_LETTER, f"{where}: key, value or headers are not the original's"
            )
        if letter.timestamp_ms != source.timestamp_ms:
            self._findings.add(WRONG_LETTER, f"{where}: its timestamp is not the original's")
        if source.meaning.reason:
            self._take_invalid(source, reason, where)
            self._require_letter_order(partition, offset, where)
        else:
            self._take_conflict(source, reason, where)

    def take_changelog(self, ids: Iterable[str], partition: int) -> None:
        """Take the ids that one partition of the changelog holds after its tombstones."""
        for one in ids:
            index = self.book.index(one)
            where = f"id {shown(one)} is in {self._topics.changelog}/{partition}"
            if index is None:
                self._findings.add(CHANGELOG, f"{where} and was never sent")
            elif self._published_variant[index] == NO_SHARD:
                self._findings.add(CHANGELOG, f"{where} and has no ready event")
            elif self._entered[index] != NO_SHARD:
                self._findings.add(CHANGELOG, f"{where} and in {self._entered[index]} as well")
            elif self._publisher[index] != partition:
                self._findings.add(
                    CHANGELOG, f"{where}, but shard {self._publisher[index]} has published it"
                )
            if index is not None:
                self._entered[index] = partition

    def conclude(self) -> None:
        """Report what is missing, after all topics were taken."""
        for index, one in enumerate(self.book.ids):
            published = self._published_variant[index]
            if published == NO_SHARD:
                self._findings.add(LOST, f"id {shown(one)} has no ready event")
            elif self._entered[index] == NO_SHARD:
                self._findings.add(
                    CHANGELOG, f"id {shown(one)} is published and not in the changelog"
                )
            self._require_variants(index, one, published)
        for place in self.book.invalid_places():
            if place not in self._dead_letter_sources:
                partition, offset = place
                self._findings.add(
                    LOST,
                    f"invalid record at {self._topics.input}/{partition}, offset {offset}, "
                    "has no dead letter",
                )

    def _shard_of(self, record: Record) -> int:
        """Return the shard that published an event."""
        group, shard, shards = publisher_of(record)
        if (group, shards) != (self._topics.group, self._topics.shards):
            raise ValueError(f"published by {group} with {shards} shards")
        return shard

    def _compare_event(
        self, event: dict[str, Any], record: Record, source: InputEntry, where: str
    ) -> None:
        meaning = source.meaning
        content = content_of(meaning.checkpoint_id, meaning.variant)
        job = content["fine_tuning_job_id"]
        data = event["data"]
        correct = (
            event["type"] == READY_TYPE
            and event["subject"] == meaning.checkpoint_id
            and event["partitionkey"] == job
            and record.key == job.encode()
            and data["origin"]["timestamp_ms"] == source.timestamp_ms
        )
        if not correct:
            self._findings.add(WRONG_EVENT, f"{where}: its attributes are not its checkpoint's")
        if data["checkpoint"] != content:
            self._findings.add(WRONG_EVENT, f"{where}: its content is not that of its origin")

    def _require_order(self, record: Record, partition: int, offset: int, shard: int) -> None:
        stream = (record.partition, partition, shard)
        before = self._last_ready.get(stream, -1)
        if offset <= before:
            self._findings.add(
                ORDER,
                f"{record.place}: shard {shard} decided {partition}/{offset} of the input after "
                f"{partition}/{before}",
            )
        self._last_ready[stream] = offset

    def _require_letter_order(self, partition: int, offset: int, where: str) -> None:
        # Invalid records have no id, and so are not forwarded to another shard.
        before = self._last_letter.get(partition, -1)
        if offset <= before:
            self._findings.add(ORDER, f"{where} came after the one of offset {before}")
        self._last_letter[partition] = offset

    def _take_invalid(self, source: InputEntry, reason: str, where: str) -> None:
        if reason != source.meaning.reason:
            expected = source.meaning.reason
            self._findings.add(WRONG_LETTER, f"{where}: the reason should be {expected}")

    def _take_conflict(self, source: InputEntry, reason: str, where: str) -> None:
        index, (one, variant, _) = source.subject, source.meaning
        if reason != CONFLICT:
            self._findings.add(WRONG_LETTER, f"{where}: it is a valid record of id {shown(one)}")
        elif self._published_variant[index] == variant:
            self._findings.add(
                WRONG_LETTER, f"{where}: content {variant} of id {shown(one)} is the published one"
            )
        elif self._refused[index] & 1 << variant:
            self._findings.add(
                LETTER_TWICE, f"{where}: content {variant} of id {shown(one)} was refused already"
            )
        else:
            self.conflicting += 1
        self._refused[index] |= 1 << variant

    def _require_variants(self, index: int, one: str, published: int) -> None:
        """Each content that was sent is published or refused."""
        missing = self.book.sent_variants[index] & ~self._refused[index]
        for variant in range(VARIANTS):
            if missing & 1 << variant and published not in {variant, NO_SHARD, UNKNOWN}:
                self._findings.add(LOST, f"content {variant} of id {shown(one)} has no dead letter")
