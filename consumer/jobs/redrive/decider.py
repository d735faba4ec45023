"""Decides whether a dead letter is redriven, and counts the reasons against it (`Exclusion`)."""

from collections import Counter
from enum import StrEnum
from typing import Any

import msgspec

from consumer.jobs.context import JobContext
from consumer.jobs.journal import whoami
from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.redrive.dead_letters import DeadLetterCounts, DeadLetterFilter
from consumer.jobs.redrive.redriven_set import StoredRecord
from consumer.pipeline.dead_letters import DeadLetterRecord, redriven_headers
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Header, Reason


class Exclusion(StrEnum):
    """Why a record is not redriven. If several reasons apply, the first in this list counts."""

    FOREIGN = "foreign"
    ALREADY_REDRIVEN = "already_redriven"
    ORIGIN_IS_NO_INPUT = "origin_is_no_input"
    PACKED_BATCH = "packed_batch"
    CUT = "cut"
    TOMBSTONE = "tombstone"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    TOO_LARGE_FOR_INPUT = "too_large_for_input"


class RedriveCounts(msgspec.Struct):
    """How many selected dead letters are redriven, and how many are left out and why."""

    redriven: DeadLetterCounts = msgspec.field(default_factory=DeadLetterCounts)
    left_out: Counter[Exclusion] = msgspec.field(default_factory=Counter)
    origins_not_input: Counter[str] = msgspec.field(default_factory=Counter)
    """Dead letters whose topic of origin is not in INPUT_TOPICS, counted by that topic."""

    def facts(self) -> dict[str, Any]:
        """Return the counts as JSON values, without the total."""
        return {
            "by": self.redriven.facts(),
            "left_out": {cause.value: count for cause, count in self.left_out.most_common()},
            "origins_that_are_no_inputs": dict(self.origins_not_input),
        }


class RedriveDecider(msgspec.Struct, frozen=True):
    """Decides whether a dead letter is redriven."""

    wanted: DeadLetterFilter
    max_attempts: int | None
    input_partitions: dict[str, int]
    max_message_bytes: dict[str, int]
    dead_letter_topic: str
    redriven_by: str

    @classmethod
    def of(
        cls, context: JobContext, wanted: DeadLetterFilter, max_attempts: int | None
    ) -> "RedriveDecider":
        """Return the decider for the topics as they are now."""
        return cls(
            wanted,
            max_attempts,
            context.topology.inputs,
            context.topology.max_message_bytes,
            context.settings.dead_letter_topic,
            whoami(),
        )

    def decide(
        self, stored: StoredRecord, counts: RedriveCounts, at_ms: int
    ) -> list[Header] | None:
        """Return the headers of the redriven record, or None if it is not redriven.

        If a selected record is not redriven, count the reason. Records that the filter does not
        select are not counted.
        """
        dead_letter = stored.dead_letter
        if not self.wanted.selects(dead_letter):
            return None
        if dead_letter is None:
            counts.left_out[Exclusion.FOREIGN] += 1
            return None
        address = f"{self.dead_letter_topic}/{stored.address}"
        headers = redriven_headers(dead_letter, address, rfc3339_ms(at_ms), self.redriven_by)
        exclusion = self._exclusion(stored, dead_letter, headers)
        if exclusion is None:
            return headers
        counts.left_out[exclusion] += 1
        if exclusion is Exclusion.ORIGIN_IS_NO_INPUT:
            counts.origins_not_input[dead_letter.origin.topic] += 1
        return None

    def _exclusion(
        self, stored: StoredRecord, dead_letter: DeadLetterRecord, headers: list[Header]
    ) -> Exclusion | None:
        topic, reason = dead_letter.origin.topic, dead_letter.reason
        max_attempts, max_bytes = self.max_attempts, self.max_message_bytes.get(topic, 0)
        is_conflict = reason is Reason.CONFLICTING_DUPLICATE
        exclusions = (
            (stored.is_redriven, Exclusion.ALREADY_REDRIVEN),
            (topic not in self.input_partitions, Exclusion.ORIGIN_IS_NO_INPUT),
            (dead_letter.is_packed, Exclusion.PACKED_BATCH),
            (dead_letter.is_cut, Exclusion.CUT),
            # A redriven tombstone would be the newest record of its key. On a compacted input, this
            # tombstone would delete the records that producers wrote after the original one.
            (reason is Reason.TOMBSTONE, Exclusion.TOMBSTONE),
            (is_conflict and reason not in self.wanted.reasons, Exclusion.CONFLICTING_DUPLICATE),
            (
                max_attempts is not None and dead_letter.attempts >= max_attempts,
                Exclusion.TOO_MANY_ATTEMPTS,
            ),
            (
                batch_bytes(dead_letter.key, dead_letter.value, headers) > max_bytes,
                Exclusion.TOO_LARGE_FOR_INPUT,
            ),
        )
        return next((exclusion for applies, exclusion in exclusions if applies), None)
