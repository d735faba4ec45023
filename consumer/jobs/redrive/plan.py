"""What a redrive does with each dead letter that is meant, and why it leaves others out."""

from collections import Counter
from contextlib import aclosing
from enum import StrEnum
from typing import Any

import msgspec

from consumer.jobs.context import Session
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
from consumer.kafka.read import scan
from consumer.pipeline.dead_letters import Letter, redriven_headers
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


class Tally(msgspec.Struct):
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

    def headers(self, found: Found, letter: Letter, at_ms: int) -> list[Header]:
        """Return the headers with which it goes back."""
        address = f"{self.dead_letter_topic}/{found.address}"
        return redriven_headers(letter, address, rfc3339_ms(at_ms), self.by)

    def obstacle(self, found: Found, letter: Letter, headers: list[Header]) -> LeftOut | None:
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

    def select(self, found: Found, tally: Tally, at_ms: int) -> list[Header] | None:
        """Count a record; return the headers with which it goes back, if it does."""
        letter = found.letter
        if not self.wanted.takes(letter):
            return None
        if letter is None:
            tally.left_out[LeftOut.FOREIGN] += 1
            return None
        headers = self.headers(found, letter, at_ms)
        obstacle = self.obstacle(found, letter, headers)
        if obstacle is None:
            return headers
        tally.left_out[obstacle] += 1
        if obstacle is LeftOut.ORIGIN_IS_NO_INPUT:
            tally.no_inputs[letter.origin.topic] += 1
        return None


def select_in(session: Session, wanted: Wanted, max_attempts: int | None) -> Selection:
    """Return the selection for the topics as they are."""
    return Selection(
        wanted,
        max_attempts,
        session.topology.inputs,
        session.topology.max_message_bytes,
        session.settings.dead_letter_topic,
        whoami(),
    )


async def plan_redrive(session: Session, wanted: Wanted, max_attempts: int | None) -> Tally:
    """Return what a redrive would do; nothing is written.

    Raises:
        ConfigError, ClusterError: the range cannot be read, as ``resolve`` says.
    """
    stretch = await resolve_letters(session, wanted)
    ledger = await read_ledger(session)
    selection, tally = select_in(session, wanted, max_attempts), Tally()
    at_ms = wall_clock_ms()
    async with aclosing(scan(session.reader, stretch.spans)) as batches:
        async for partition, records, _ in batches:
            for found in read_letters(stretch, partition, records, ledger):
                if selection.select(found, tally, at_ms) is not None and found.letter:
                    tally.redriven.count(found.letter)
    return tally
