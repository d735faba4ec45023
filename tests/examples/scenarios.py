"""What every example subscriber must do, in any language. A test of an example calls these."""

from __future__ import annotations

import json
import signal
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from tests.examples.harness import CLIENT_DEFAULT
from tests.examples.history import id_of, is_binary, place_of
from tests.support.records import NewRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.examples.harness import Example, Line, RunningExample
    from tests.examples.history import History
    from tests.support.reader import Record
    from tests.support.topics import Names

NO_BROKER = "127.0.0.1:1"
NO_BROKER_SECONDS = 45.0
STEADY_PAUSE_SECONDS = 0.01
STEADY_PARTITIONS = 3
FLUSH_SECONDS = 30.0
LINES_BEFORE_STOP = 20
LINES_AFTER_RESTART = 20
TOO_DEEP = 100_000  # levels of JSON


def assert_prints_each_id_once(
    example: Example, history: History, isolation: str = "read_committed"
) -> None:
    """Assert that the example prints the committed events and no other, with the right fields."""
    with _started(example, history, isolation=isolation) as running:
        running.wait_for_ids(history.sources)
        assert running.stop_by() == 0
        lines = running.lines
    assert _places(lines) == Counter(map(place_of, history.committed))
    for line in lines:
        source = history.sources[line["id"]]
        assert (line["job"], line["step"], line["model"]) == source[1:4]
        assert line["loss"] == pytest.approx(source.loss)
        assert "replayid" not in line


def assert_uncommitted_sees_more(
    example: Example, history: History, isolation: str = "read_uncommitted"
) -> None:
    """Assert that the example prints the events of aborted transactions too: ids occur again."""
    expected = Counter(map(place_of, [*history.committed, *history.aborted]))
    with _started(example, history, isolation=isolation) as running:
        lines = running.wait_for_lines(expected.total())
    assert _places(lines) == expected
    copies = Counter(line["id"] for line in lines)
    assert {one for one, count in copies.items() if count > 1} == set(map(id_of, history.aborted))


def assert_client_reads_committed_by_default(example: Example, history: History) -> None:
    """Assert that the client prints committed events only if the isolation level is not set."""
    assert_prints_each_id_once(example, history, CLIENT_DEFAULT)


def assert_client_reads_uncommitted_by_default(example: Example, history: History) -> None:
    """Assert that the client prints aborted events too if the isolation level is not set."""
    assert_uncommitted_sees_more(example, history, CLIENT_DEFAULT)


def assert_stops_cleanly(
    example: Example,
    history: History,
    names: Names,
    number: signal.Signals = signal.SIGTERM,
) -> None:
    """Stop the example between events, start it again: no event is missing or printed twice."""
    cluster, topic = history.cluster, names.topic("steady")
    cluster.create_topics({topic: STEADY_PARTITIONS})
    group = names.group()
    with _steady(history, topic) as stream:
        with example.start(cluster.bootstrap_servers, topic, group=group) as running:
            running.wait_for_lines(LINES_BEFORE_STOP)
            assert running.stop_by(number) == 0
            first = running.ids
        with example.start(cluster.bootstrap_servers, topic, group=group) as running:
            running.wait_for_lines(LINES_AFTER_RESTART)
            stream.stop()
            running.wait_for_ids(set(stream.sent) - set(first))
            assert running.stop_by(number) == 0
            second = running.ids
    assert Counter(first + second) == Counter(stream.sent)


def assert_survives_a_rebalance(example: Example, history: History, names: Names) -> None:
    """Let a second member join and the first one leave, between events: no event is missing.

    The event that a member has in hand when it loses the partition may be printed twice.
    """
    cluster, topic, group = history.cluster, names.topic("steady"), names.group()
    cluster.create_topics({topic: STEADY_PARTITIONS})
    with (
        _steady(history, topic) as stream,
        example.start(cluster.bootstrap_servers, topic, group=group) as first,
    ):
        first.wait_for_lines(LINES_BEFORE_STOP)
        with example.start(cluster.bootstrap_servers, topic, group=group) as second:
            second.wait_for_lines(LINES_AFTER_RESTART)
            assert first.stop_by() == 0
            stream.stop()
            second.wait_for_ids(set(stream.sent) - set(first.ids))
            assert second.stop_by() == 0
            counts = Counter(first.ids + second.ids)
    assert counts.keys() == set(stream.sent)
    assert counts.total() - len(counts) <= STEADY_PARTITIONS


def assert_ignores_foreign_records(
    example: Example, history: History, names: Names, *, commits: bool = True
) -> None:
    """Assert that the example skips what is no ready event, and accepts what it does not know.

    If it `commits` offsets, it has committed those of skipped records too.
    """
    cluster, topic = history.cluster, names.topic("foreign")
    cluster.create_topics({topic: 1})
    known = next(record for record in history.committed if not is_binary(record))
    placed = cluster.produce(topic, [*_foreign(known), *_accepted(known)])
    with example.start(cluster.bootstrap_servers, topic, group=names.group()) as running:
        running.wait_for_ids({"last"})
        assert running.stop_by() == 0
        lines = running.lines
    assert [line["id"] for line in lines] == ["unknown", "replayed", "last"]
    assert [line.get("replayid") for line in lines] == [None, "replay-7", None]
    expected = {(topic, 0): placed[-1][1] + 1} if commits else {}
    assert cluster.group_offsets(names.group()) == expected


def assert_fails_without_broker(example: Example) -> None:
    """Assert that the example ends with an error that names the address, without a broker."""
    with example.start(NO_BROKER, "unused", group="unused") as running:
        assert running.wait(NO_BROKER_SECONDS) > 0
        assert running.lines == []
        *_, last = running.errors.splitlines()
        assert NO_BROKER in last
        assert "Traceback" not in running.errors


def assert_fails_without_the_topic(example: Example, history: History, names: Names) -> None:
    """Assert that the example ends with an error that names the missing topic; it creates none."""
    topic = names.topic("missing")
    with example.start(history.bootstrap_servers, topic, group=names.group()) as running:
        assert running.wait(NO_BROKER_SECONDS) == 1
        assert running.lines == []
        assert f"the topic {topic} " in running.errors.splitlines()[-1]
        assert "Traceback" not in running.errors
    assert topic not in history.cluster.topics()


def _started(example: Example, history: History, *, isolation: str) -> RunningExample:
    group = f"{example.name}-{uuid.uuid4().hex[:8]}"
    return example.start(history.bootstrap_servers, history.topic, group=group, isolation=isolation)


def _places(lines: Iterable[Line]) -> Counter[tuple[int, int]]:
    return Counter((line["partition"], line["offset"]) for line in lines)


def renamed(record: Record, checkpoint_id: str, **members: object) -> NewRecord:
    """Return a ready event in structured mode with another id and more members."""
    event = json.loads(record.value or b"") | {"id": checkpoint_id, "subject": checkpoint_id}
    event["data"]["checkpoint"]["id"] = checkpoint_id
    return NewRecord(json.dumps(event | members).encode(), record.key, 0, record.headers)


def _foreign(known: Record) -> Iterator[NewRecord]:
    """Yield records that no example may print."""
    yield NewRecord(b"not JSON", b"key", 0)
    yield NewRecord(b"\xff\x00\xfe", b"\xff", 0, [("content-type", None)])
    yield NewRecord(None, b"key", 0)
    yield NewRecord(b"", None, 0)
    yield NewRecord(b"[1, 2]", b"key", 0)
    yield NewRecord(b'{"id": "no event"}', b"key", 0)
    yield renamed(known, "other type", type="fine_tuning.job.checkpoint.canary")
    yield renamed(known, "no data", data={})
    yield NewRecord(b"[" * TOO_DEEP, b"key", 0)
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"only"), ("ce_source", b"/here")]
    yield NewRecord(b"{}", b"key", 0, [*headers, ("ce_type", b"something.else")])
    ready = [*headers, ("ce_type", b"fine_tuning.job.checkpoint.ready")]
    yield NewRecord(b'{"a":' * TOO_DEEP, b"key", 0, ready)


def _accepted(known: Record) -> Iterator[NewRecord]:
    """Yield events that every example prints."""
    data = json.loads(known.value or b"")["data"]
    more = {**data, "future": [{"a": 1}], "model": {**data["model"], "quantization": "int4"}}
    yield renamed(known, "unknown", data=more, futureattribute="x")
    yield renamed(known, "replayed", replayid="replay-7")
    yield renamed(known, "last")


class _Steady:
    """Produces a ready event every few milliseconds in a thread."""

    def __init__(self, history: History, topic: str) -> None:
        self.sent: list[str] = []
        self._producer = Producer({**history.cluster.settings, "linger.ms": 0})
        self._topic = topic
        self._known = [one for one in history.committed if not is_binary(one)]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until everything is delivered. A second call does nothing."""
        self._stopped.set()
        self._thread.join()
        assert self._producer.flush(FLUSH_SECONDS) == 0

    def _produce(self) -> None:
        # The wait sets the rate of the stream; it waits for no condition.
        while not self._stopped.wait(STEADY_PAUSE_SECONDS):
            number = len(self.sent)
            known = self._known[number % len(self._known)]
            record = renamed(known, f"steady_{number:05}")
            self._producer.produce(
                self._topic,
                value=record.value,
                key=record.key,
                partition=number % STEADY_PARTITIONS,
                headers=list(record.headers),
            )
            self.sent.append(f"steady_{number:05}")


@contextmanager
def _steady(history: History, topic: str) -> Iterator[_Steady]:
    steady = _Steady(history, topic)
    steady.start()
    try:
        yield steady
    finally:
        steady.stop()
