"""The checker: an observer apart from the service, on librdkafka, that believes only what it reads.

It reads while the faults happen and keeps a number for each record. After them it waits until
nothing is left to be handled, reads everything anew and compares: with its earlier reads, and with
what the records of the input mean by the workload's own design.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.chaos.findings import Findings
from tests.chaos.first_reads import KIND as WENT_BACK
from tests.chaos.first_reads import FirstReads
from tests.chaos.judge import LETTER_TWICE, LOST, TWICE, Judge
from tests.chaos.lag import LagMeter, Progress
from tests.chaos.reading import CommittedReader, ends_of, read_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.chaos.record import ReadRecord
    from tests.chaos.topics import Topics

POLL_SECONDS = 0.5
# The last read is bounded by silence, not by its length: a long run has much to be read.
QUIET_SECONDS = 30.0
UNREADABLE = "cannot be read to its end"
LAG = "lag"
ID_PREFIX = b"i:"
# The fixed part of an id's entry; its last byte tells how long the topic is that comes next.
ID_ENTRY_HEAD_BYTES = 46


class Verdict(NamedTuple):
    """What is wrong (nothing: an empty list), and the figures of the run."""

    violations: list[str]
    facts: dict[str, int]


class Checker:
    """Reads from `start` on in a thread of its own; `finish` gives the verdict."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Topics,
        *,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._settings = settings
        self._quiet_seconds = quiet_seconds
        self._topics = topics
        self._findings = Findings()
        self._first_reads = FirstReads(self._findings)
        self._judge = Judge(topics, self._findings)
        self._live_progress = Progress()
        self._admin = AdminClient(dict(settings))
        self._stopped = threading.Event()
        self._failure: Exception | None = None
        self._records_read = 0
        self._thread = threading.Thread(target=self._read, name="checker", daemon=True)

    @property
    def records_read(self) -> int:
        """How many records were read so far, for a sign of life."""
        return self._records_read

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def finish(self, deadline_seconds: float) -> Verdict:
        """Judge, when the faults are over and nothing is produced any more.

        1. Wait until everything is handled, at the most until the deadline.
        2. End the reads of the run.
        3. Read everything anew, compare it with those, and take it into the verdict.
        4. Tell what is missing and what is left unhandled.
        """
        self._wait_until_handled(deadline_seconds)  # 1.
        self._stopped.set()  # 2.
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        judge, topics = self._judge, self._topics
        self._reread(topics.input, judge.take_input)  # 3.
        judge.end_input()
        self._reread(topics.ready, judge.take_ready)
        self._reread(topics.dead_letter, judge.take_dead_letter)
        progress = self._reread_changelog()
        # Of the compacted changelog records may go; of these three none may.
        self._first_reads.require_all_found((topics.input, topics.ready, topics.dead_letter))
        judge.conclude()  # 4.
        self._tell_lag(progress)
        return Verdict(self._findings.sentences(), self._facts())

    def _read(self) -> None:
        """Read during the run; on the way note how far the service says it is."""
        topics = self._topics
        wanted = (topics.input, topics.ready, topics.dead_letter, topics.changelog)
        try:
            with CommittedReader(self._settings, wanted) as reader:
                while not self._stopped.is_set():
                    for record in reader.poll():
                        self._records_read += 1
                        self._first_reads.note(record)
                        if record.topic == topics.changelog:
                            self._live_progress.take(record.key, record.value)
                for problem in reader.problems:
                    self._findings.add(WENT_BACK, problem)
        except Exception as error:  # noqa: BLE001 - told by finish, in the caller's thread
            self._failure = error

    def _wait_until_handled(self, deadline_seconds: float) -> None:
        deadline = time.monotonic() + deadline_seconds
        with LagMeter(self._settings, self._topics) as meter:
            while self._thread.is_alive():
                try:
                    behind = meter.behind(self._live_progress.next_offsets)
                except (
                    KafkaException,
                    AssertionError,
                    TimeoutError,
                ):  # a coordinator or leader is on its way
                    behind = ["unknown"]
                if not behind or time.monotonic() > deadline:
                    return
                time.sleep(POLL_SECONDS)

    def _tell_lag(self, progress: Progress) -> None:
        try:
            with LagMeter(self._settings, self._topics) as meter:
                behind = meter.behind(progress.next_offsets)
        except (KafkaException, AssertionError, TimeoutError) as error:
            behind = [f"it cannot be measured: {error}"]
        for sentence in behind:
            self._findings.add(LAG, sentence)

    def _reread(self, topic: str, take: Callable[[ReadRecord], None]) -> None:
        """Read a topic anew to what is its end now."""
        passed = self._first_reads.positions(topic)
        ends = ends_of(self._admin, topic, passed, self._quiet_seconds)
        try:
            for record in read_to(self._settings, topic, ends, self._quiet_seconds):
                self._first_reads.compare(record)
                take(record)
        except AssertionError as error:
            self._findings.add(UNREADABLE, str(error))

    def _reread_changelog(self) -> Progress:
        progress = Progress()
        held: dict[int, dict[bytes, str]] = {}  # by partition: id by key

        def take(record: ReadRecord) -> None:
            progress.take(record.key, record.value)
            key = record.key or b""
            if not key.startswith(ID_PREFIX):
                return
            entries = held.setdefault(record.partition, {})
            if record.value is None:
                entries.pop(key, None)
            else:
                entries[key] = id_of_entry(record.value)

        self._reread(self._topics.changelog, take)
        for partition, entries in sorted(held.items()):
            self._judge.take_changelog(entries.values(), partition)
        return progress

    def _facts(self) -> dict[str, int]:
        judge, count = self._judge, self._findings.count
        book = judge.book
        return {
            "produced": book.records,
            "distinct_ids": len(book.ids),
            "poison": book.poison,
            "published": judge.published,
            "duplicates": book.records - judge.published - judge.dead_letters,
            "conflicting": judge.conflicting,
            "dead_letters": judge.dead_letters,
            "lost": count(LOST),
            "published_twice": count(TWICE),
            "dead_letters_twice": count(LETTER_TWICE),
            "read_during": self._records_read,
        }


def id_of_entry(value: bytes) -> str:
    """Return the id that an entry of the changelog is about (docs/protocol.md, "The changelog")."""
    topic_bytes = value[ID_ENTRY_HEAD_BYTES - 1]
    return value[ID_ENTRY_HEAD_BYTES + topic_bytes :].decode()
