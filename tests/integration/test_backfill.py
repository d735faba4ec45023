"""A backfill on a real broker: everything in the input exactly once, whatever happens to it."""

from __future__ import annotations

import gzip
import signal
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from consumer.jobs.retry import RESUME_HINT
from consumer.pipeline.routing import partition_for_key
from consumer.shard.events import Step
from tests import builders
from tests.integration.crashing_tool import tool_crashing_at
from tests.support.command_line import run_at_once, run_in_terminal
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids
from tests.support.topics import Names
from tests.support.verdicts import assert_exactly_once, document, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from consumer.pipeline.records import ReadyRecord
    from tests.support.cluster import Cluster
    from tests.support.command_line import Finished
    from tests.support.reader import Record
    from tests.support.service_process import ServiceProcess

HEADER = "checkpoint-ready.backfill"
SHARD_HEADER = "checkpoint-ready.shard"
MAX_MESSAGE_BYTES = 1_048_588


class Field(NamedTuple):
    """A deployment with a service at work, and all that was ever put into its input."""

    cluster: Cluster
    deployment: Deployment

    def backfill(self, *arguments: str, stdin: bytes = b"") -> Finished:
        """Run the command."""
        return self.deployment.run("backfill", *arguments, stdin=stdin)

    def run_into_death(
        self, path: str, step: Step, occurrence: int, delay_ms: float = 0, **settings: object
    ) -> None:
        """Run the command until it is killed at a step."""
        command = tool_crashing_at(
            step, occurrence, "backfill", path, "--execute", delay_ms=delay_ms
        )
        crashing = self.deployment.start("", command=command, **settings)
        assert crashing.wait() == -signal.SIGKILL, crashing.tail()

    def start_slowly(self, path: str) -> ServiceProcess:
        """Start the command, a transaction for each record, and return when some are sent."""
        before = sum(self.cluster.end_offsets(self.deployment.input_topic).values())
        process = self.deployment.start(
            command=("consumer", "backfill", path, "--execute"), MAX_TRANSACTION_RECORDS=1
        )

        def has_begun() -> bool:
            assert not process.has_ended, process.tail()
            now = self.cluster.end_offsets(self.deployment.input_topic)
            return sum(now.values()) > before + 20

        wait_until(has_begun, what="the first records of a backfill")
        return process

    def inputs(self, prefix: str) -> list[Record]:
        """Return what an independent client sees of these ids in the input."""
        found = self.cluster.read(self.deployment.input_topic)
        return [one for one in found if (one.key or b"").startswith(prefix.encode())]

    def published(self, prefix: str) -> list[Record]:
        """Return the ready events of these ids, after everything is handled."""
        wait_until_handled(self.cluster, self.deployment.names)
        found = self.cluster.read(self.deployment.ready_topic)
        return [one for one in found if event_id(one).startswith(prefix)]


@pytest.fixture(scope="module")
def field(cluster: Cluster) -> Iterator[Field]:
    """One deployment for all; each test has ids of its own."""
    names = Names(f"backfill-{uuid.uuid4().hex[:8]}")
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(3, service)
        yield Field(cluster, deployment)
        assert service.terminate() == 0


def write_lines(path: Path, values: Iterable[bytes]) -> str:
    """Write a file of JSON lines."""
    path.write_bytes(b"\n".join(values) + b"\n")
    return str(path)


def summary(done: Finished) -> dict[str, Any]:
    """Return the last line of a command that succeeded."""
    assert done.exit_code == 0, done
    assert done.complaints == []
    last: dict[str, Any] = done.json_lines[-1]
    return last


def keys(records: Iterable[Record]) -> Counter[str]:
    """Return how often each id stands in records of the input."""
    return Counter((one.key or b"").decode() for one in records)


def place(record: Record) -> tuple[int, int]:
    """Return where a record of the input lies."""
    return record.partition, record.offset


def origin(event: Record) -> tuple[int, int]:
    """Return where the record lies that a ready event is about."""
    found = document(event)["data"]["origin"]
    return found["partition"], found["offset"]


def caused_by_a_producer(source: Record) -> ReadyRecord:
    """Return the event that the same bytes cause in the same place without any header."""
    bare = builders.Record(source.offset, source.timestamp_ms, source.key, source.value, ())
    decision = builders.decide(
        builders.batch(bare, topic=source.topic, partition=source.partition),
        settings=builders.shard_settings(max_bytes=2**30),
    )
    return decision.ready[0]


def sized(checkpoint_id: str, size_bytes: int) -> bytes:
    """Return a checkpoint of exactly this size."""
    empty = checkpoint(checkpoint_id, filler="")
    return checkpoint(checkpoint_id, filler="x" * (size_bytes - len(empty)))


def test_a_file_of_which_part_is_published(field: Field, tmp_path: Path) -> None:
    """The plan tells what happens, and it happens: only the rest is published, as any other."""
    old, new = numbered_ids(20, "part_old"), numbered_ids(30, "part_new")
    produced = [NewRecord(checkpoint(one), one.encode()) for one in old]
    field.cluster.produce(field.deployment.input_topic, produced)
    assert keys(field.published("part_")).total() == 20

    odd = b'{"object": "list", "data": [ ' + checkpoint("part_listed") + b" , 7 ] }"
    lines = [
        *map(checkpoint, [*old, *new]),
        odd,
        checkpoint(new[0]),  # repeated
        checkpoint(old[0], step_number=5),  # conflicting
        b"rubbish",
        sized("part_large", 1_048_000),
        sized("part_too_large", MAX_MESSAGE_BYTES),
    ]
    path = str(tmp_path / "checkpoints.gz")
    (tmp_path / "checkpoints.gz").write_bytes(gzip.compress(b"\r\n".join(lines)))
    before = field.cluster.end_offsets(field.deployment.input_topic), field.cluster.topics()
    planned = field.backfill(path)
    plan = summary(planned)
    expected = {"elements": 57, "accepted": 54, "ids": 52, "sent": 0, "before": None}
    outcomes = {"new": 32, "published": 20, "repeated": 1, "conflicting": 1}
    assert (expected | outcomes).items() <= plan.items()
    reasons = {"invalid_schema": 1, "malformed_json": 1, "too_large": 1}
    assert plan["rejected"] == reasons
    rejected = [line for line in planned.json_lines if line["event"] == "rejected"]
    assert [(one["line"], one["index"], one["reason"]) for one in rejected] == [
        (51, 1, "invalid_schema"),
        (54, None, "malformed_json"),
        (56, None, "too_large"),
    ]
    assert before == (
        field.cluster.end_offsets(field.deployment.input_topic),
        field.cluster.topics(),
    )

    done = summary(field.backfill(path, "--execute"))
    assert {"accepted": 54, "sent": 54, "sent_before": 0, "run": 1}.items() <= done.items()
    assert done["rejected"] == reasons
    assert done["seconds"] > 0
    assert done["records_per_second"] > 0
    published = field.published("part_")
    assert sorted(map(event_id, published)) == sorted([*old, *new, "part_listed", "part_large"])
    sent = {place(one): one for one in field.inputs("part_") if one.header(HEADER)}
    assert len(sent) == 54
    assert all(one.partition == partition_for_key(one.key or b"", 3) for one in sent.values())
    values = {one.value for one in sent.values()}
    assert {checkpoint("part_listed"), sized("part_large", 1_048_000)} <= values
    ours = [(one, sent[origin(one)]) for one in published if origin(one) in sent]
    assert sorted(event_id(event) for event, _ in ours) == sorted(
        [*new, "part_listed", "part_large"]
    )
    for event, source in ours:
        expected_event = caused_by_a_producer(source)
        assert (event.key, event.value) == (expected_event.key, expected_event.value)
        assert [one for one in event.headers if one[0] != SHARD_HEADER] == [
            one for one in expected_event.headers if one[0] != SHARD_HEADER
        ]


def test_twice_and_again(field: Field, tmp_path: Path) -> None:
    """What was sent is not sent again, unless it is asked for, and never published twice."""
    ids = numbered_ids(10, "twice")
    file = tmp_path / "file"
    path = write_lines(file, map(checkpoint, ids))
    # It dies before it can say that it is done, and is done all the same.
    field.run_into_death(path, Step.COMMITTED, 2)
    renamed = str(file.rename(tmp_path / "renamed"))
    for done in run_at_once(
        lambda: field.backfill(renamed, "--execute"), lambda: field.backfill(renamed)
    ):
        last = summary(done)
        assert last["sent"] == 0
        assert last["before"]["finished"]
        assert last["before"]["sent"] == 10
        assert "@" in last["before"]["started_by"]
    assert keys(field.inputs("twice")) == Counter(ids)
    again = summary(field.backfill(renamed, "--execute", "--again"))
    assert (again["sent"], again["run"]) == (10, 2)
    assert keys(field.inputs("twice")) == Counter(ids * 2)
    assert sorted(map(event_id, field.published("twice"))) == ids


def test_killed_at_each_step(field: Field, tmp_path: Path) -> None:
    """Killed at every step in turn, the same command goes on: all lies in the input once."""
    ids = numbered_ids(700, "killed")
    file = tmp_path / "file"
    path = write_lines(file, [*map(checkpoint, ids), b"rubbish"])
    steps = [
        (Step.COMMITTED, 1, 0.0),  # the mark of the start
        (Step.DECIDED, 2, 0.0),
        (Step.SENT, 3, 0.0),
        (Step.COMMITTING, 3, 0.5),
        (Step.COMMITTED, 2, 0.0),
    ]
    for step, occurrence, delay_ms in steps:
        field.run_into_death(path, step, occurrence, delay_ms, MAX_TRANSACTION_RECORDS=100)
    # What was a file may as well come through a pipe.
    last = summary(field.backfill("-", "--execute", stdin=file.read_bytes()))
    assert last["sent_before"] >= 300
    assert last["sent"] + last["sent_before"] == last["accepted"] == 700
    assert last["run"] == 1
    found = field.inputs("killed")
    assert keys(found) == Counter(ids)
    assert len({one.header(HEADER) for one in found}) == 1
    assert sorted(map(event_id, field.published("killed"))) == ids


def test_stopped(field: Field, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end it in order, say how to go on, and that goes on."""
    ids = numbered_ids(3_000, "stop")
    path = write_lines(tmp_path / "file", map(checkpoint, ids))
    process = field.start_slowly(path)
    assert process.interrupt() == 130, process.tail()
    assert RESUME_HINT in process.lines[-1]["text"]
    process = field.start_slowly(path)
    assert process.terminate() == 143, process.tail()
    assert RESUME_HINT in process.lines[-1]["text"]
    last = summary(field.backfill(path, "--execute"))
    assert 0 < last["sent"] < 3_000
    assert last["sent"] + last["sent_before"] == 3_000
    assert keys(field.inputs("stop")) == Counter(ids)


def test_two_at_once(field: Field, tmp_path: Path) -> None:
    """The later one ends the earlier, which says so and can go on afterwards."""
    ids = numbered_ids(3_000, "first_of_two")
    path = write_lines(tmp_path / "file", map(checkpoint, ids))
    first = field.start_slowly(path)
    second = field.backfill("-", "--execute", stdin=checkpoint("second_of_two"))
    assert summary(second)["sent"] == 1
    assert first.wait() == 1
    assert "another backfill of group" in first.lines[-1]["text"]
    assert summary(field.backfill(path, "--execute"))["sent_before"] > 0
    assert keys(field.inputs("first_of_two")) == Counter(ids)
    assert keys(field.inputs("second_of_two")) == Counter(["second_of_two"])


def test_nothing_to_send(field: Field) -> None:
    """A file of which nothing can be sent fails; an empty one does not."""
    bad, empty = run_at_once(
        lambda: field.backfill("-", "--execute", stdin=b"rubbish\n{}"),
        lambda: field.backfill("-", "--execute"),
    )
    assert bad.exit_code == 1
    assert bad.complaint == "checkpoint-ready: standard input has no element that can be sent"
    assert [line["event"] for line in bad.json_lines] == ["rejected", "rejected", "backfilled"]
    assert summary(empty)["sent"] == 0


def test_on_a_terminal(field: Field, tmp_path: Path) -> None:
    """A person reads a plan, and the first twenty of what is not sent."""
    lines = [checkpoint("terminal"), *([b"rubbish"] * 23)]
    path = write_lines(tmp_path / "file", lines)
    planned = write_lines(tmp_path / "planned", [*lines, b""])  # known by itself
    settings = {
        "BOOTSTRAP_SERVERS": field.cluster.bootstrap_servers,
        "GROUP_ID": field.deployment.group,
        "INPUT_TOPICS": field.deployment.input_topic,
        "OUTPUT_TOPIC": field.deployment.ready_topic,
        "DEAD_LETTER_TOPIC": field.deployment.dead_letter_topic,
    }
    plan, done = run_at_once(
        lambda: run_in_terminal("backfill", planned, **settings),
        lambda: run_in_terminal("backfill", path, "--execute", **settings),
    )
    assert plan.exit_code == 0
    assert plan.stdout.count("malformed_json: ") == 20
    assert "line 21: malformed_json: " in plan.stdout
    assert "… and 3 more" in plan.stdout
    assert "Nothing was sent. --execute sends" in plan.stdout
    assert done.exit_code == 0
    assert "1 accepted, 23 rejected, 1 sent in" in done.stdout


def test_everything_is_published_once(field: Field) -> None:
    """After all of that every id that lies in the input is published exactly once."""
    ids = {event_id(one) for one in field.inputs("") if (one.value or b"").startswith(b"{")}
    assert_exactly_once(field.cluster, field.deployment.names, ids)
