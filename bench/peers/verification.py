"""Checks with an independent read_committed client that each id is in the output once."""

import time
from array import array
from bisect import bisect_right
from typing import Final, NamedTuple

import msgspec

from bench.peers.backlog import id_number
from bench.peers.contenders.contender import Delivery, Run
from tests.support.waiting import DeadlineExceeded

WAIT_SECONDS: Final = 60.0
"""How long the last transactions may take to commit after the output has stopped growing."""
READ_SECONDS: Final = 600.0
POLL_RECORDS: Final = 10_000
MANY: Final = 255


class _Identified(msgspec.Struct):
    id: str


class Verdict(msgspec.Struct, frozen=True):
    """What a subscriber of the output sees."""

    records: int
    distinct_ids: int
    missing_ids: int
    published_twice: int
    unknown_ids: int
    dead_letters: int

    def problem(self, delivery: Delivery) -> str:
        """Return how the output breaks what the contender promises, or an empty text."""
        found = []
        if self.missing_ids:
            found.append(f"{self.missing_ids} ids are missing")
        if self.published_twice and delivery is not Delivery.EVERY_RECORD:
            found.append(f"{self.published_twice} ids are published twice or more")
        if self.unknown_ids:
            found.append(f"{self.unknown_ids} ids are not in the input")
        if self.dead_letters:
            found.append(f"{self.dead_letters} valid records are dead letters")
        return ", ".join(found)


class Output(NamedTuple):
    """The verdict, and when the broker appended each record (ms), in order."""

    verdict: Verdict
    appended_ms: "array[int]"

    def appended_at(self, share: float) -> float:
        """Return when this share of the records was appended (s, wall clock); 0: the first one."""
        index = min(int(share * len(self.appended_ms)), len(self.appended_ms) - 1)
        return self.appended_ms[index] / 1000

    def share_after(self, at: float) -> float:
        """Return the share of the records that the broker appended later than at this time.

        Large transactions append many records at once, and the work on them is before that time.
        """
        before = bisect_right(self.appended_ms, round(at * 1000))
        return 1 - before / len(self.appended_ms)


def read_output(run: Run) -> Output:
    """Read the output to its end.

    The contender may still run: its last transaction may be open. So the end is read twice.

    Raises:
        DeadlineExceeded: the output could not be read in time, for instance because a transaction
            stays open.
    """
    decode = msgspec.json.Decoder(_Identified).decode
    distinct = run.backlog.distinct
    counts = bytearray(distinct)
    appended, found, unknown = array("q"), 0, 0
    deadline = time.monotonic() + READ_SECONDS
    complete_by = time.monotonic() + WAIT_SECONDS
    ends: dict[tuple[str, int], int] | None = None
    with run.cluster.subscriber(run.output_topic) as reader:
        while ends is None or reader.missing(ends):
            records = reader.poll(most=POLL_RECORDS)
            for record in records:
                number = id_number(decode(record.value or b"").id) - run.backlog.first_number
                appended.append(record.timestamp_ms)
                if not 0 <= number < distinct:
                    unknown += 1
                    continue
                found += not counts[number]
                counts[number] = min(counts[number] + 1, MANY)
            now = time.monotonic()
            if records:
                complete_by = now + WAIT_SECONDS
            if ends is None and (found == distinct or now > complete_by):
                offsets = run.cluster.end_offsets(run.output_topic)
                ends = {(run.output_topic, partition): end for partition, end in offsets.items()}
            if now > deadline:
                raise DeadlineExceeded(f"{run.output_topic} could not be read in {READ_SECONDS} s")
    verdict = Verdict(
        records=len(appended),
        distinct_ids=found,
        missing_ids=distinct - found,
        published_twice=sum(count > 1 for count in counts),
        unknown_ids=unknown,
        dead_letters=len(run.cluster.read(run.dead_letter_topic)),
    )
    return Output(verdict, array("q", sorted(appended)))
