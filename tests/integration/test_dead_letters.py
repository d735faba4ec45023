"""Dead letters on a real broker: listed, shown, and put back exactly once."""

from __future__ import annotations

import json
import signal
import uuid
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from consumer.cli.dead_letters import CONFLICTING_DUPLICATES_DROPPED
from consumer.jobs.job import TAKEN_OVER
from consumer.jobs.retry import RESUME_HINT
from consumer.pipeline.dead_letters import dead_letter
from consumer.pipeline.records import InvalidRecord, Reason, Stage
from consumer.shard.events import Step
from schemas.ready_event import Origin
from tests.builders import record
from tests.integration.crashing_tool import tool_crashing_at
from tests.integration.signalled_tool import tool_signalled_at
from tests.support.command_line import run_at_once, run_in_terminal
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint
from tests.support.topics import Names
from tests.support.verdicts import event_id
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumer.pipeline.records import Header
    from tests.support.cluster import Cluster
    from tests.support.command_line import Finished
    from tests.support.reader import Record

READY_LIMIT_BYTES = 3000
AUDIT = "checkpoint-ready.redrive"
REDRIVE = ("dead-letters", "redrive")
LIST = ("dead-letters", "list")
SHOW = ("dead-letters", "show")
REASON_WRONG = ("--reason", "wrong_object_type")
EXECUTE = (*REDRIVE, "--execute")
# One transaction of a redrive holds 1,000; the mark of its start is a transaction as well.
LETTERS = 4_500
FIRST_REDRIVE = 2


class Lab(Deployment):
    """A deployment with several inputs, so that each test has one of its own."""

    ROLES = ("input", "fixed", "again", "conflicts")

    def __init__(self, cluster: Cluster, names: Names) -> None:
        """Make the inputs and the group's topics."""
        topics = [names.topic(role) for role in self.ROLES]
        cluster.create_topics(dict.fromkeys(topics[1:], 1))
        super().__init__(
            cluster,
            names,
            input_partitions=2,
            INPUT_TOPICS=",".join(topics),
            DISCOVERY_INTERVAL_MS=1000,
        )

    def bury(self, role: str, *records: NewRecord) -> list[tuple[int, int]]:
        """Produce records and wait until they are dead letters."""
        placed = self.cluster.produce(self.names.topic(role), records)
        self.wait_for_letters(role, len(records))
        return placed

    def wait_for_letters(self, role: str, count: int) -> list[Record]:
        """Wait for so many dead letters of one input, and return them."""
        topic = self.names.topic(role).encode()

        def found() -> list[Record]:
            lying = self.cluster.read(self.dead_letter_topic)
            mine = [one for one in lying if one.header("__connect.errors.topic") == topic]
            return mine if len(mine) >= count else []

        return wait_until(found, what=f"{count} dead letters of {role}")

    def on_terminal(self, *arguments: str) -> str:
        """Run a command that succeeds on a terminal; return what a person sees."""
        finished = run_in_terminal(*arguments, **self._settings)
        assert finished.exit_code == 0, finished.stdout
        return finished.stdout

    def listed(self, role: str, *options: str) -> list[dict[str, Any]]:
        """Return what is listed of one input."""
        return lines(self.run(*LIST, "--origin", self.names.topic(role), *options))

    def redrive(self, role: str, *options: str) -> dict[str, Any]:
        """Redrive what came from one input, and return what the command says last."""
        return lines(self.redrive_from(role, *options))[-1]

    def redrive_from(self, role: str, *options: str) -> Finished:
        """Run a redrive of what came from one input."""
        return self.run(*REDRIVE, "--origin", self.names.topic(role), *options)


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Iterator[Lab]:
    """Start a service whose ready topic takes small events only."""
    names = Names(f"letters-{uuid.uuid4().hex[:8]}")
    with Lab(cluster, names) as lab:
        cluster.set_config(lab.ready_topic, max_message_bytes=str(READY_LIMIT_BYTES))
        lab.wait_until_running(3, lab.start())
        yield lab


@pytest.fixture
def quiet(cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """Make topics without a service: the dead letters stay as the test put them there."""
    with Deployment(cluster, names, input_partitions=1) as deployment:
        yield deployment


def lines(finished: Finished) -> list[dict[str, Any]]:
    """Return the JSON lines of a command that succeeded."""
    assert finished.exit_code == 0, finished.stderr
    assert not finished.complaints, finished.stderr
    return finished.json_lines


def letter(  # noqa: PLR0913 - one for each part
    topic: str,
    value: bytes,
    *,
    partition: int = 0,
    reason: Reason = Reason.TOO_LARGE,
    cause: str = "RecordTooLarge",
    headers: Sequence[Header] = (),
    max_bytes: int = 2_000_000,
) -> NewRecord:
    """Return a dead letter as the service writes it."""
    poison = InvalidRecord(reason, "it is too large", Stage.TASK_PUT, cause)
    source = record(raw=value, headers=headers)
    made = dead_letter(poison, Origin(topic, partition, 42, 17), source, headers, max_bytes)
    return NewRecord(made.value, made.key, 0, made.headers)


def letters(topic: str, count: int = LETTERS) -> list[NewRecord]:
    """Return so many, each with a value of its own."""
    return [letter(topic, b"%d" % number, headers=[("own", b"\xff")]) for number in range(count)]


def audit(redriven: Record) -> dict[str, Any]:
    """Return what the audit header says, which must be the last one."""
    name, value = redriven.headers[-1]
    assert name == AUDIT
    found = json.loads(value or b"")
    assert isinstance(found, dict)
    return found


def assert_each_once(cluster: Cluster, deployment: Deployment, count: int = LETTERS) -> None:
    """Check that a committed read of the input shows each letter once, as it was."""
    read = cluster.read(deployment.input_topic)
    found = Counter(record.value for record in read)
    assert found == Counter(b"%d" % number for number in range(count))
    assert {record.key for record in read} == {b"key"}
    assert all(record.headers[:-1] == [("own", b"\xff")] for record in read)
    places = {audit(record)["dead_letter"] for record in read}
    assert len(places) == count


class TestListAndShow:
    """What a person sees of dead letters."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def buried(cls, lab: Lab) -> list[tuple[int, int]]:
        """Four dead letters of two partitions, and a record that is none."""
        placed = lab.bury(
            "input",
            NewRecord(b"no JSON", b"key", 0, [("own", b"\x1b[31m")]),
            NewRecord(b"\xff\x00{", None, 1),
            NewRecord(b'{"object":"fish"}', b"key", 0),
            NewRecord(None, b"key", 1),
        )
        lab.cluster.produce(lab.dead_letter_topic, [NewRecord(b"foreign", b"key", 1)])
        return placed

    def test_each_has_a_line(self, lab: Lab, buried: list[tuple[int, int]]) -> None:
        """Reason, origin and message are told, and the address is where it lies."""
        listed = lab.listed("input")
        topic = lab.input_topic
        assert sorted((line["reason"], line["origin"]) for line in listed) == sorted(
            (reason, f"{topic}/{partition}:{offset}")
            for reason, (partition, offset) in zip(
                ["malformed_json", "malformed_json", "wrong_object_type", "tombstone"],
                buried,
                strict=True,
            )
        )
        lying = {f"{r.partition}:{r.offset}": r for r in lab.cluster.read(lab.dead_letter_topic)}
        for line in listed:
            found = lying[line["address"]]
            assert line["message"].encode() == found.header("__connect.errors.exception.message")
            assert (line["attempts"], line["redriven"], line["cut"]) == (0, False, False)
            assert line["time"].endswith("Z")

    def test_filters(self, lab: Lab, buried: list[tuple[int, int]]) -> None:
        """Reasons, origins and ranges choose; records that are no dead letters have none."""
        partition, offset = buried[2]
        (wrong,) = lab.listed("input", "--reason", "wrong_object_type")
        number, _, at = wrong["address"].partition(":")
        place = f"{lab.input_topic}/{partition}:{offset}"
        after = f"{number}:{int(at) + 1}"
        by_place, by_range, two, counts, everything = run_at_once(
            partial(lab.run, *LIST, "--origin", place, "--reason", "too_deep", *REASON_WRONG),
            partial(lab.run, *LIST, "--from", wrong["address"], "--to", after),
            partial(lab.run, *LIST, "--from", wrong["time"], "--max", "2"),
            partial(lab.run, *LIST, "--summary"),
            partial(lab.run, *LIST),
        )
        assert lines(by_place) == lines(by_range) == [wrong]
        assert [line["time"] >= wrong["time"] for line in lines(two)] == [True, True]
        expected = {"reason": "malformed_json", "origin_topic": lab.input_topic, "count": 2}
        assert expected in counts.json["by"]
        assert counts.json["foreign"] == 1
        (foreign,) = [line for line in lines(everything) if line["foreign"]]
        assert (foreign["reason"], foreign["origin"]) == (None, None)

    def test_a_table_on_a_terminal(self, lab: Lab) -> None:
        """People get a table."""
        shown = lab.on_terminal(*LIST, *REASON_WRONG)
        assert "1 dead letters" in shown
        assert lab.input_topic[:12] in shown

    def test_one_whole(self, lab: Lab) -> None:
        """Headers, error and bytes are shown, and bytes come out as they went in."""
        lying = {
            (r.header("__connect.errors.partition"), r.value): f"{r.partition}:{r.offset}"
            for r in lab.cluster.read(lab.dead_letter_topic)
            if r.header("__connect.errors.topic") == lab.input_topic.encode()
        }
        text, binary = lying[b"0", b"no JSON"], lying[b"1", b"\xff\x00{"]
        shown, escaped, digits, raw, nothing = run_at_once(
            partial(lab.run, *SHOW, text),
            partial(lab.run, *SHOW, binary),
            partial(lab.run, *SHOW, binary, "--hex"),
            partial(lab.run, *SHOW, text, "--raw"),
            partial(lab.run, *SHOW, lying[b"1", None], "--raw"),
        )
        assert (shown.json["value"], shown.json["key"]) == ("no JSON", "key")
        assert (shown.json["stage"], shown.json["class"]) == ("VALUE_CONVERTER", "DecodeError")
        assert shown.json["headers"][0] == ["own", "\x1b[31m"]
        assert len(shown.json["headers"]) == 9
        assert (shown.json["redrive"], shown.json["attempts"]) == (None, 0)
        assert (escaped.json["value"], escaped.json["key"]) == ("\\xff\x00{", None)
        assert digits.json["value"] == "ff007b"
        assert (raw.stdout, raw.complaints) == ("no JSON", [])
        assert (nothing.exit_code, nothing.stdout) == (0, "")
        assert "null" in nothing.complaint
        assert "own: \\x1b[31m" in lab.on_terminal(*SHOW, text)
        assert lab.on_terminal(*SHOW, text, "--raw") == "no JSON"
        refused = lab.run_in_terminal(*SHOW, binary, "--raw")
        assert refused.exit_code == 2
        assert "which this terminal would execute" in refused.stdout

    def test_bad_usage(self, lab: Lab) -> None:
        """What cannot be meant is exit code 2 and a line that says so."""
        wrong = {
            ("show", "9:0"): "no partition 9",
            ("show", "0:999"): "ends at offset",
            ("redrive", "--reason", "boredom"): "boredom",
        }
        commands = [partial(lab.run, "dead-letters", *arguments) for arguments in wrong]
        for finished, words in zip(run_at_once(*commands), wrong.values(), strict=True):
            assert finished.exit_code == 2
            assert words in finished.complaints[-1]


class TestRedrive:
    """Dead letters go back while the service runs."""

    def test_after_a_fix_it_is_published(self, lab: Lab) -> None:
        """What was too large for the ready topic is published once the topic takes it."""
        value = checkpoint("fixed", padding="x" * READY_LIMIT_BYTES)
        own: list[Header] = [("own", b"\xff"), (AUDIT, b"a producer's"), ("own", None)]
        lab.bury("fixed", NewRecord(value, b"a key", 0, own, timestamp_ms=1_700_000_000_000))
        lab.cluster.set_config(lab.ready_topic, max_message_bytes="1000000")
        service = lab.processes[0]
        assert service.running_shards() == frozenset(range(3))
        plan = lab.redrive("fixed")
        assert (plan["event"], plan["redrive"], plan["left_out"]) == ("plan", 1, {})
        topic = lab.names.topic("fixed")
        assert plan["by"] == [{"reason": "too_large", "origin_topic": topic, "count": 1}]
        assert len(lab.cluster.read(topic)) == 1, "a plan changes nothing"

        done = lab.redrive("fixed", "--execute")
        assert (done["event"], done["redriven"]) == ("redriven", 1)
        first, again = lab.cluster.read(topic)
        assert (again.partition, again.key, again.value) == (0, b"a key", value)
        assert again.headers[:-1] == first.headers == own
        told = audit(again)
        (lying,) = lab.listed("fixed")
        assert told["dead_letter"] == f"{lab.dead_letter_topic}/{lying['address']}"
        assert (told["attempt"], told["timestamp_ms"]) == (1, 1_700_000_000_000)
        assert lying["redriven"]
        (event,) = wait_until(lambda: lab.cluster.read(lab.ready_topic), what="the event")
        assert event_id(event) == "fixed"

        done = lab.redrive("fixed", "--execute", "--reason", "too_large")
        assert (done["redriven"], done["left_out"]) == (0, {"already_redriven": 1})
        assert len(lab.cluster.read(topic)) == 2

    def test_what_fails_again_counts_its_attempts(self, lab: Lab) -> None:
        """It comes back as another dead letter with the number of its redrives."""
        own: list[Header] = [("own", b"1")]
        lab.bury("again", NewRecord(b"no JSON at all", b"key", 0, own))
        for attempt in (1, 2):
            assert lab.redrive("again", "--execute")["redriven"] == 1
            lying = lab.wait_for_letters("again", attempt + 1)
        first, second, third = (f"{one.partition}:{one.offset}" for one in lying)
        plan, listed, shown = run_at_once(
            partial(lab.redrive_from, "again", "--max-attempts", "2"),
            partial(lab.run, *LIST, "--origin", lab.names.topic("again")),
            partial(lab.run, *SHOW, third),
        )
        assert plan.json["redrive"] == 0
        assert plan.json["left_out"] == {"already_redriven": 2, "too_many_attempts": 1}
        assert [
            (line["address"], line["attempts"], line["redriven"]) for line in lines(listed)
        ] == [
            (first, 0, True),
            (second, 1, True),
            (third, 2, False),
        ]
        assert shown.json["redrive"]["dead_letter"] == f"{lab.dead_letter_topic}/{second}"
        records = lab.cluster.read(lab.names.topic("again"))
        assert [record.headers[:1] for record in records] == [own] * 3
        assert [len(record.headers) for record in records] == [1, 2, 2]

    def test_conflicting_duplicates_only_when_asked_for(self, lab: Lab) -> None:
        """They stay where they are, unless that reason is named; then they are duplicates again."""
        records = [NewRecord(checkpoint("twice", step_number=n), b"key", 0) for n in range(3)]
        lab.cluster.produce(lab.names.topic("conflicts"), records)
        lab.wait_for_letters("conflicts", 2)
        done = lab.redrive("conflicts", "--execute")
        assert (done["redriven"], done["left_out"]) == (0, {"conflicting_duplicate": 2})
        assert "--reason conflicting_duplicate" in done["notes"][0]
        wanted = ("--reason", "conflicting_duplicate")
        done = lab.redrive("conflicts", *wanted, "--execute")
        assert done["redriven"] == 2
        assert done["notes"] == [CONFLICTING_DUPLICATES_DROPPED]
        topic = lab.names.topic("conflicts")
        assert len(lab.cluster.read(topic)) == 5

        def duplicates() -> int:
            logged = lab.processes[0].logged("transaction_committed")
            return sum(line["duplicates"] for line in logged)

        wait_until(lambda: duplicates() == 2, what="two duplicates")
        assert len(lab.wait_for_letters("conflicts", 2)) == 2


class TestExactlyOnce:
    """Nothing goes back twice and nothing is left, whatever happens to the command."""

    def test_killed_at_every_step(self, cluster: Cluster, quiet: Deployment) -> None:
        """The same command after a kill goes on; each dead letter is back exactly once."""
        cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic))
        for step in Step.DECIDED, Step.SENT, Step.COMMITTING, Step.COMMITTED:
            killed = quiet.start(command=tool_crashing_at(step, FIRST_REDRIVE + 1, *EXECUTE))
            assert killed.wait() == -signal.SIGKILL, killed.tail()
        done = lines(quiet.run(*EXECUTE))[-1]
        assert done["redriven"] + done["left_out"]["already_redriven"] == LETTERS
        assert done["left_out"]["already_redriven"] >= 4_000
        assert_each_once(cluster, quiet)

    def test_stopped_by_ctrl_c(self, cluster: Cluster, quiet: Deployment) -> None:
        """The open transaction is finished, the exit code is 130, and the message says go on."""
        cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic))
        command = tool_signalled_at(signal.SIGINT, Step.SENT, FIRST_REDRIVE, *EXECUTE)
        stopped = quiet.start(command=command)
        assert stopped.wait() == 130, stopped.tail()
        assert f"1000 dead letters were redriven; {RESUME_HINT}" in stopped.tail()
        assert len(cluster.read(quiet.input_topic)) == 1000
        assert lines(quiet.run(*EXECUTE))[-1]["redriven"] == LETTERS - 1000
        assert_each_once(cluster, quiet)

    def test_two_at_once(self, cluster: Cluster, quiet: Deployment) -> None:
        """The second one takes over; the first can write nothing more and says why it ends."""
        cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic))
        command = tool_signalled_at(signal.SIGSTOP, Step.SENT, FIRST_REDRIVE, *EXECUTE)
        first = quiet.start(command=command)
        wait_until(lambda: first.is_frozen, what="the first one in its transaction")
        assert lines(quiet.run(*EXECUTE))[-1]["redriven"] == LETTERS
        first.resume()
        assert first.wait() == 1, first.tail()
        assert TAKEN_OVER in first.tail()
        assert_each_once(cluster, quiet)

    def test_a_topic_made_anew(self, cluster: Cluster, quiet: Deployment) -> None:
        """Dead letters of another topic under the same name are not taken for those put back."""
        cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic, 10))
        assert lines(quiet.run(*EXECUTE))[-1]["redriven"] == 10
        cluster.delete_topics(quiet.dead_letter_topic)
        stamped = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "2000000"}
        cluster.create_topics({quiet.dead_letter_topic: 1}, stamped)
        cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic, 10))
        for expected in (10, 0):
            assert lines(quiet.run(*EXECUTE))[-1]["redriven"] == expected
        assert len(cluster.read(quiet.input_topic)) == 20

    def test_the_ledger_follows_retention(self, cluster: Cluster, quiet: Deployment) -> None:
        """An entry goes when all that it tells of is deleted, and its number is not used again."""
        journal = f"{quiet.group}.jobs"
        for number in (1, 2):
            cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic, 10))
            assert lines(quiet.run(*EXECUTE))[-1]["redriven"] == 10
            cluster.delete_records(quiet.dead_letter_topic, {0: 10 * number})
        assert lines(quiet.run(*EXECUTE))[-1]["left_out"] == {}
        entries = [(r.key, r.value is None) for r in cluster.read(journal)]
        assert [entry for entry in entries if not (entry[0] or b"").startswith(b"f:")] == [
            (b"d:1", False),
            (b"d:1", True),
            (b"d:2", False),
            (b"d:2", True),
        ]


class TestLeftOut:
    """What is never put back, and what is refused."""

    def test_each_cause_is_counted(self, cluster: Cluster, quiet: Deployment) -> None:
        """A plan tells them apart and creates nothing; acting leaves all of them alone."""
        topic = quiet.input_topic
        limit_bytes = 10_000
        cluster.set_config(topic, max_message_bytes=str(limit_bytes))
        cluster.produce(
            quiet.dead_letter_topic,
            [
                NewRecord(b"foreign", b"key", 0, [("checkpoint-ready.reason", b"too_large")]),
                letter(topic, b"packed", cause="RecordBatchTooLarge"),
                letter(topic, b"v" * 9000, max_bytes=5000),
                letter("another.topic", b"value"),
                letter(topic, b"variant", reason=Reason.CONFLICTING_DUPLICATE),
                letter(topic, b"", reason=Reason.TOMBSTONE),
                letter(topic, b"v" * (limit_bytes - 100)),
                letter(topic, b"gone", partition=7),
            ],
        )
        plan = lines(quiet.run(*REDRIVE))[0]
        left_out = {
            "foreign": 1,
            "packed_batch": 1,
            "cut": 1,
            "origin_is_no_input": 1,
            "tombstone": 1,
            "conflicting_duplicate": 1,
            "too_large_for_input": 1,
        }
        assert (plan["redrive"], plan["left_out"]) == (1, left_out)
        assert plan["origins_that_are_no_inputs"] == {"another.topic": 1}
        assert "another.topic" in plan["notes"][0]
        assert f"{quiet.group}.jobs" not in cluster.topics()
        cut, raw = run_at_once(
            partial(quiet.run, *SHOW, "0:2"), partial(quiet.run, *SHOW, "0:2", "--raw")
        )
        assert cut.json["whole_value"]["size_bytes"] == 9000
        assert "of 9000 bytes" in raw.complaint
        done = lines(quiet.run(*EXECUTE))[-1]
        assert (done["redriven"], done["left_out"]) == (1, left_out)
        (redriven,) = cluster.read(topic)
        assert (redriven.partition, redriven.value) == (0, b"gone")

    def test_a_cut_range_is_refused(self, cluster: Cluster, quiet: Deployment) -> None:
        """What retention has deleted cannot be put back, and the message says what is left."""
        cluster.produce(quiet.dead_letter_topic, letters(quiet.input_topic, 10))
        cluster.delete_records(quiet.dead_letter_topic, {0: 4})
        refused = quiet.run(*EXECUTE, "--from", "0:2")
        assert refused.exit_code == 1
        assert "the first existing offset is 4" in "".join(refused.complaints)
        deleted = quiet.run(*SHOW, "0:2")
        assert deleted.exit_code == 1
        assert "the first existing offset is 4" in deleted.complaint
        accepted = lines(quiet.run(*EXECUTE, "--from", "0:2", "--to", "0:9", "--allow-truncated"))[
            -1
        ]
        assert accepted["redriven"] == 5
        assert not cluster.group_members(quiet.group), "no group is joined"
