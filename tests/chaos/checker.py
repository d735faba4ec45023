"""The checker: it reads the topics by librdkafka, and uses nothing of the service.

It reads during the faults and keeps a fingerprint of each record. After the faults it waits until
everything is handled, and reads all topics again. It compares them with the first reads, and with
the meaning of the input records, which the workload defines.
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
from tests.chaos.reading import ends_of, read_to, tolerant_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.reader import Record
    from tests.support.topics import Topics

POLL_SECONDS = 0.5
# The last read may take long: only a time without new records ends it.
QUIET_SECONDS = 30.0
UNREADABLE = "cannot be read to its end"
LAG = "lag"
ID_PREFIX = b"i:"
# The fixed part of an id's entry; its last byte is the length of the topic, which follows.
ID_ENTRY_HEAD_BYTES = 46


class Verdict(NamedTuple):
    """The violations (an empty list if there are none), and the figures of the run."""

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

    def start(self) -> None:
        """Start to read."""
        self._thread.start()

    def finish(self, deadline_seconds: float) -> Verdict:
        """Return the verdict, after the faults and the last produced record.

        1. Wait until everything is handled, at the most until the deadline.
        2. End the reads of the run.
        3. Read everything again, compare it with those reads, and give it to the judge.
        4. Report what is missing and what is not handled.
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
        self._reread(topics.dead_letters, judge.take_dead_letter)
        progress = self._reread_changelog()
        # The changelog is compacted and may lose records; these three topics may not.
        self._first_reads.require_all_found((topics.input, topics.ready, topics.dead_letters))
        judge.conclude()  # 4.
        self._report_lag(progress)
        return Verdict(self._findings.sentences(), self._facts())

    def _read(self) -> None:
        """Read during the run, and follow the progress that the service writes to the changelog."""
        topics = self._topics
        wanted = (topics.input, topics.ready, topics.dead_letters, topics.changelog)
        try:
            with tolerant_reader(self._settings, *wanted) as reader:
                while not self._stopped.is_set():
                    for record in reader.poll():
                        self._records_read += 1
                        self._first_reads.note(record)
                        if record.topic == topics.changelog:
                            self._live_progress.take(record.key, record.value)
                for problem in reader.problems:
                    self._findings.add(WENT_BACK, problem)
        except Exception as error:  # noqa: BLE001 - raised by finish, in the caller's thread
            self._failure = error

    def _wait_until_handled(self, deadline_seconds: float) -> None:
        deadline = time.monotonic() + deadline_seconds
        with LagMeter(self._settings, self._topics) as meter:
            while self._thread.is_alive():
                try:
                    lag = meter.sentences(self._live_progress.next_offsets)
                except (
                    KafkaException,
                    AssertionError,
                    TimeoutError,
                ):  # a coordinator or leader moves
                    lag = ["unknown"]
                if not lag or time.monotonic() > deadline:
                    return
                time.sleep(POLL_SECONDS)

    def _report_lag(self, progress: Progress) -> None:
        try:
            with LagMeter(self._settings, self._topics) as meter:
                lag = meter.sentences(progress.next_offsets)
        except (KafkaException, AssertionError, TimeoutError) as error:
            lag = [f"it cannot be measured: {error}"]
        for sentence in lag:
            self._findings.add(LAG, sentence)

    def _reread(self, topic: str, take: Callable[[Record], None]) -> None:
        """Read a topic again to its current end."""
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

        def take(record: Record) -> None:
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
            "invalid_records": book.invalid_records,
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
    """Return the id of a changelog entry (docs/protocol.md, "The changelog")."""
    topic_bytes = value[ID_ENTRY_HEAD_BYTES - 1]
    return value[ID_ENTRY_HEAD_BYTES + topic_bytes :].decode()
