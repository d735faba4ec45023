"""What a redrive does with each dead letter that is meant, and why it leaves others out."""

from collections import Counter
from contextlib import aclosing
from enum import StrEnum
from typing import Any

import msgspec

from consumer.jobs.context import JobContext
from consumer.jobs.journal import whoami
from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.redrive.selection import (
    Counted,
    Found,
    Wanted,
    read_ledger,
    read_letters,
    resolve_letters,
)
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.read import read_range
from consumer.pipeline.dead_letters import DeadLetterRecord, redriven_headers
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Header, Reason


class LeftOut(StrEnum):
    """Why a dead letter is not put back; the first that fits counts."""

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
    """What a redrive does, or would do, with the dead letters that are meant."""

    redriven: Counted = msgspec.field(default_factory=Counted)
    left_out: Counter[LeftOut] = msgspec.field(default_factory=Counter)
    no_inputs: Counter[str] = msgspec.field(default_factory=Counter)
    """Topics of origin that are not among INPUT_TOPICS."""

    def facts(self) -> dict[str, Any]:
        """Return it for a program, but for the total."""
        return {
            "by": self.redriven.facts(),
            "left_out": {cause.value: count for cause, count in self.left_out.most_common()},
            "origins_that_are_no_inputs": dict(self.no_inputs),
        }


class Selection(msgspec.Struct, frozen=True):
    """Decides about each dead letter."""

    wanted: Wanted
    max_attempts: int | None
    input_partitions: dict[str, int]
    max_message_bytes: dict[str, int]
    dead_letter_topic: str
    by: str

    def headers(self, found: Found, letter: DeadLetterRecord, at_ms: int) -> list[Header]:
        """Return the headers with which it goes back."""
        address = f"{self.dead_letter_topic}/{found.address}"
        return redriven_headers(letter, address, rfc3339_ms(at_ms), self.by)

    def obstacle(
        self, found: Found, letter: DeadLetterRecord, headers: list[Header]
    ) -> LeftOut | None:
        """Return why it cannot go back; None: it can."""
        topic, asked_for = letter.origin.topic, self.wanted.reasons
        conflicts = letter.reason is Reason.CONFLICTING_DUPLICATE
        most_attempts, most_bytes = self.max_attempts, self.max_message_bytes.get(topic, 0)
        obstacles = (
            (found.is_redriven, LeftOut.ALREADY_REDRIVEN),
            (topic not in self.input_partitions, LeftOut.ORIGIN_IS_NO_INPUT),
            (letter.is_packed, LeftOut.PACKED_BATCH),
            (letter.is_cut, LeftOut.CUT),
            # On a compacted input it would delete what was written under its key since.
            (letter.reason is Reason.TOMBSTONE, LeftOut.TOMBSTONE),
            (conflicts and letter.reason not in asked_for, LeftOut.CONFLICTING_DUPLICATE),
            (
                most_attempts is not None and letter.attempts >= most_attempts,
                LeftOut.TOO_MANY_ATTEMPTS,
            ),
            (
                batch_bytes(letter.key, letter.value, headers) > most_bytes,
                LeftOut.TOO_LARGE_FOR_INPUT,
            ),
        )
        return next((cause for is_there, cause in obstacles if is_there), None)

    def select(self, found: Found, counts: RedriveCounts, at_ms: int) -> list[Header] | None:
        """Count a record; return the headers with which it goes back, if it does."""
        letter = found.letter
        if not self.wanted.takes(letter):
            return None
        if letter is None:
            counts.left_out[LeftOut.FOREIGN] += 1
            return None
        headers = self.headers(found, letter, at_ms)
        obstacle = self.obstacle(found, letter, headers)
        if obstacle is None:
            return headers
        counts.left_out[obstacle] += 1
        if obstacle is LeftOut.ORIGIN_IS_NO_INPUT:
            counts.no_inputs[letter.origin.topic] += 1
        return None


def select_in(context: JobContext, wanted: Wanted, max_attempts: int | None) -> Selection:
    """Return the selection for the topics as they are."""
    return Selection(
        wanted,
        max_attempts,
        context.topology.inputs,
        context.topology.max_message_bytes,
        context.settings.dead_letter_topic,
        whoami(),
    )


async def plan_redrive(
    context: JobContext, wanted: Wanted, max_attempts: int | None
) -> RedriveCounts:
    """Return what a redrive would do; nothing is written.

    Raises:
        ConfigError, ClusterError: the range cannot be read, as ``resolve`` says.
    """
    resolved = await resolve_letters(context, wanted)
    redriven = await read_ledger(context)
    selection, counts = select_in(context, wanted, max_attempts), RedriveCounts()
    at_ms = wall_clock_ms()
    async with aclosing(read_range(context.reader, resolved.ranges)) as batches:
        async for partition, records, _ in batches:
            for found in read_letters(resolved, partition, records, redriven):
                if selection.select(found, counts, at_ms) is not None and found.letter:
                    counts.redriven.count(found.letter)
    return counts
