"""Replays on the real broker: each id once, equal to the live event, whatever kills the process."""

from __future__ import annotations

import re
import signal
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from consumer.cli.main import OUTPUT_CLOSED
from consumer.jobs.ranges import TRUNCATED
from consumer.jobs.replay.source import RECREATED
from consumer.jobs.retry import RESUME_HINT
from consumer.kafka.clock import wall_clock_ms
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import id_key
from consumer.shard.events import Step
from tests.integration.crashing_tool import tool_crashing_at
from tests.integration.signalled_tool import tool_signalled_at
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids
from tests.support.topics import Names
from tests.support.verdicts import document, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.cluster import Cluster
    from tests.support.reader import Record

IDS = 240
SHARDS = 3
JOBS = 4


@pytest.fixture(scope="module")
def history(cluster: Cluster) -> Iterator[Deployment]:
    """Group with a past, whose service has ended: see `_produce_history`."""
    names = Names(f"replay-{uuid.uuid4().hex[:8]}")
    with Deployment(cluster, names, input_partitions=SHARDS) as deployment:
        _produce_history(deployment)
        service = deployment.start()
        wait_until_handled(cluster, names)
        assert service.terminate() == 0
        yield deployment


def test_a_plan_counts_everything_and_publishes_nothing(history: Deployment) -> None:
    """Without --execute nothing is written or made, and every record is accounted for."""
    topics = history.cluster.topics()
    plan = history.run("replay").json["plan"]
    counts = plan["counts"]
    assert counts["events"] == plan["distinct_ids"] == IDS
    assert counts["invalid"] == {"malformed_json": 1, "wrong_object_type": 1}
    assert counts["records"] == counts["events"] + counts["duplicates"] + 2
    assert (counts["not_in_changelog"], plan["gone"]) == (0, 0)
    assert sum(part["counts"]["events"] for part in plan["partitions"]) == IDS
    assert all(part["first_ms"] <= part["last_ms"] for part in plan["partitions"])
    assert plan["makes_target"]
    assert not {f"{history.ready_topic}.replay", f"{history.group}.jobs"} & topics
    assert history.cluster.topics() == topics


def test_a_replay_equals_the_live_events_but_for_its_name(history: Deployment) -> None:
    """Key, headers and value are those of live byte for byte, of forwarded and repeated ids too."""
    finished = _execute(history, "equal")
    assert finished["counts"]["events"] == IDS
    assert finished["percent"] == 100
    assert finished["started_by"]
    _assert_equals_live(history, "equal")


@pytest.mark.parametrize("step", [Step.DECIDED, Step.SENT, Step.COMMITTING, Step.COMMITTED])
def test_a_killed_replay_goes_on_with_the_rest(history: Deployment, step: Step) -> None:
    """Killed at any step of a transaction, the same command publishes each id exactly once."""
    name = f"killed-{step.value}"
    command = ["replay", "--name", name, "--rate", "300", "--execute"]
    killed = history.start(command=tool_crashing_at(step, 4, *command))
    assert killed.wait(60) == -signal.SIGKILL
    begun = history.run("replay", "show", name).json
    assert begun["state"] == "unfinished"
    assert begun["counts"]["events"] < IDS
    _execute(history, name)
    _assert_equals_live(history, name)


@pytest.mark.parametrize(("options", "events"), [((), IDS), (("--max-events", "7"), 7)])
def test_a_replay_killed_before_it_says_that_it_is_finished(
    history: Deployment, options: tuple[str, ...], events: int
) -> None:
    """All is published and the settled ids are dropped: the same command publishes nothing more."""
    name = f"almost-{events}"
    command = ["replay", "--name", name, *options, "--execute"]
    # Mark, range, events, and the tombstones of the settled ids.
    killed = history.start(command=tool_crashing_at(Step.COMMITTED, 4, *command))
    assert killed.wait(60) == -signal.SIGKILL
    begun = history.run("replay", "show", name).json
    assert (begun["state"], begun["counts"]["events"]) == ("unfinished", events)
    assert _execute(history, name, *options)["counts"]["events"] == events
    published = [event_id(record) for record in _replayed(history, name)]
    assert len(published) == len(set(published)) == events


def test_ctrl_c_leaves_a_replay_that_goes_on(history: Deployment) -> None:
    """It ends after its transaction with 130 and the command that goes on, which then does."""
    command = ("replay", "--name", "interrupted", "--rate", "20", "--execute")
    replay = history.start(command=["consumer", *command])
    replay.wait_for_log("progress")
    assert replay.interrupt() == 128 + signal.SIGINT
    assert f"{RESUME_HINT}: checkpoint-ready replay" in replay.tail()
    assert _execute(history, "interrupted")["counts"]["events"] == IDS
    _assert_equals_live(history, "interrupted")


def test_adjacent_ranges_share_the_events_out(history: Deployment) -> None:
    """Ranges are half-open: an event is in exactly one of two that meet, by offset and by time."""
    ends = history.cluster.end_offsets(history.input_topic)
    middles = [f"{partition}:{end // 2}" for partition, end in ends.items()]
    origins = [document(record)["data"]["origin"] for record in _live(history).values()]
    times_ms = sorted({origin["timestamp_ms"] for origin in origins})
    middle_ms = str(times_ms[len(times_ms) // 2])
    for cut in (middles, [middle_ms]):
        before = _events(history, *(f"--to={each}" for each in cut))
        after = _events(history, *(f"--from={each}" for each in cut))
        assert before > 0 < after
        assert before + after == IDS
    assert _events(history, "--from", "-48h") == IDS
    only_one = _events(history, "--from", "1:0")
    assert only_one == sum(origin["partition"] == 1 for origin in origins)


def test_filters_take_only_what_is_asked_for(history: Deployment) -> None:
    """By job, by id and by model, alone and together, and no more events than asked for."""
    (one,) = numbered_ids(1)
    assert _events(history, "--job", "ftjob-1") == IDS // JOBS
    plan = history.run("replay", "--id", one).json["plan"]
    assert plan["counts"]["events"] == plan["counts"]["records"] == 1  # it looks nowhere else
    assert _events(history, "--id", one, "--to", "-48h") == 0
    assert _events(history, "--id", one, "--job", "ftjob-1") == 0
    assert _events(history, "--model", "ft:gpt-4o-mini*:ckpt-step-2") == IDS // JOBS
    assert history.run("replay", "--max-events", "7").json["plan"]["published"] == 7
    few = _execute(history, "few", "--max-events", "7")
    assert few["counts"]["events"] == 7
    assert len(_replayed(history, "few")) == 7


def test_a_finished_replay_is_not_repeated(history: Deployment) -> None:
    """The same again does nothing; where it would mean another range it asks for a name."""
    options = ("replay", "--job", "ftjob-2", "--to", "2030-01-01T00:00:00Z", "--execute")
    name = history.run(*options).json_lines[-1]["replay"]["name"]
    again = history.run(*options).json_lines[-1]
    assert again["already"]
    assert len(_replayed(history, name)) == IDS // JOBS
    for relative in (("--from", "-48h", "--to", "2030-01-01T00:00:00Z"), ()):
        again_later = ("replay", "--job", "ftjob-3", *relative, "--execute")
        assert history.run(*again_later).exit_code == 0
        refused = history.run(*again_later)
        assert refused.exit_code == 1
        assert "give the new replay a --name" in refused.complaint


def test_a_name_belongs_to_one_replay(history: Deployment) -> None:
    """Other options under a name that is taken are refused, whether it is finished or not."""
    _execute(history, "taken", "--job", "ftjob-0")
    refused = history.run("replay", "--name", "taken", "--job", "ftjob-1", "--execute")
    assert refused.exit_code == 2
    assert "was started with --job 'ftjob-0'" in refused.complaint


def test_replays_are_listed_and_shown(history: Deployment) -> None:
    """`list` tells of all, the latest first; `show` of one, with its options and its range."""
    _execute(history, "listed", "--model", "*")
    listed = history.run("replay", "list").json_lines
    assert listed[0]["name"] == "listed"
    shown = history.run("replay", "show", "listed").json
    assert shown["arguments"]["model"] == "*"
    assert shown["target"] == f"{history.ready_topic}.replay"
    assert {offsets_range["partition"] for offsets_range in shown["ranges"]} == set(range(SHARDS))
    missing = history.run("replay", "show", "nothing")
    assert missing.exit_code == 2
    assert "there is no replay nothing" in missing.complaint


def test_people_see_a_table_and_a_bar(history: Deployment) -> None:
    """On a terminal the plan is a table, and the replay ends with what it came to."""
    plan = history.run_in_terminal("replay")
    assert f"{IDS} events of {IDS} distinct ids" in plan.stdout
    done = history.run_in_terminal("replay", "--name", "seen", "--rate", "200", "--execute")
    assert done.exit_code == 0
    assert "events/s" in done.stdout
    assert f"replay seen: {IDS} events" in done.stdout


def test_of_two_equal_commands_one_goes_on(history: Deployment) -> None:
    """The later one takes over; the earlier one ends and says so; each id is published once."""
    command = ("replay", "--name", "twins", "--rate", "12")
    first = history.start(command=["consumer", *command, "--execute"])
    first.wait_for_log("progress")
    _execute(history, "twins")
    assert first.wait() == 1
    assert "another process has started the same command" in first.tail()
    _assert_equals_live(history, "twins")


def test_a_transaction_that_timed_out_is_no_takeover(history: Deployment) -> None:
    """Held up until the broker ends its transaction, the replay goes on with what is committed."""
    command = ("replay", "--name", "slow", "--rate", "300", "--execute")
    freezing = tool_signalled_at(signal.SIGSTOP, Step.SENT, 4, *command)
    replay = history.start(command=freezing, TRANSACTION_TIMEOUT_MS=1000)
    wait_until(lambda: replay.is_frozen, what="a process that stands still")
    _replayed(history, "slow")  # waits for the end of the transaction that it left open
    replay.resume()
    assert replay.wait(60) == 0
    _assert_equals_live(history, "slow")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--target", "{input}"], "an input topic"),
        (["--target", "{group}.changelog"], "the changelog"),
        (["--target", "{dead}"], "the dead-letter topic"),
        (["--target", "{ready}"], "Use --to-live"),
        (["--target", "{ready}.nowhere"], "does not exist: create it"),
        (["--target", "x", "--to-live"], "exclude each other"),
        (["--from", "yesterday"], "'yesterday' is not one of these forms: RFC 3339"),
        (["--from", "2026-11-23T10:00:00"], "has no UTC offset"),
        (["--from", "-1h", "--to", "-2h"], "--from must be before --to"),
        (["--from", "9:0"], "there is no partition"),
        (["--to", "0:999999"], "ends at offset"),
        (["--name", "a/b"], "must be 1 to 100 letters"),
        (["--rate", "0"], "must be a whole number above 0"),
    ],
)
def test_nonsense_is_refused_with_its_mend(
    history: Deployment, options: Sequence[str], complaint: str
) -> None:
    """Whatever cannot be meant ends the command before anything is written."""
    names = {
        "input": history.input_topic,
        "ready": history.ready_topic,
        "dead": history.dead_letter_topic,
        "group": history.group,
    }
    refused = history.run("replay", "--execute", *(option.format(**names) for option in options))
    assert refused.exit_code == (1 if "nowhere" in "".join(options) else 2)
    assert complaint in refused.stderr


def test_a_time_beyond_all_time(history: Deployment) -> None:
    """The latest time that can be said does no harm to the list of replays."""
    _execute(history, "far", "--to", "999999999999999", "--max-events", "1")
    assert history.run("replay", "show", "far").json["to"] == "9999-12-31T23:59:59.999Z"


def test_an_output_that_nobody_reads_is_no_success(history: Deployment) -> None:
    """The command ends with 1 and says so where its reader goes away; it can go on later."""
    begun = history.run_with_closed_output(
        "replay", "--name", "unheard", "--rate", "50", "--execute"
    )
    assert begun.exit_code == 1
    assert OUTPUT_CLOSED in begun.stderr
    assert _execute(history, "unheard")["counts"]["events"] == IDS
    assert history.run_with_closed_output("replay", "list").exit_code == 0


def test_events_that_the_target_does_not_take_are_no_success(history: Deployment) -> None:
    """They are counted in the plan, and at the end the command says what to do and exits with 1."""
    target = f"{history.ready_topic}.small"
    history.cluster.create_topics({target: 1}, {"max.message.bytes": "500"})
    plan = history.run("replay", "--target", target).json["plan"]
    assert plan["counts"]["too_large_for_target"] == IDS
    refused = history.run("replay", "--target", target, "--name", "small", "--execute")
    assert refused.exit_code == 1
    assert "raise its max.message.bytes" in refused.complaint


def test_ctrl_c_is_heard_in_a_stretch_without_events(cluster: Cluster, names: Names) -> None:
    """A range by time reads on to the log's end; that is progress, is saved, and can be stopped."""
    with Deployment(cluster, names, input_partitions=1, SHARDS=1) as deployment:
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint("first"))])
        end_ms = wall_clock_ms() + 1
        wait_until(lambda: wall_clock_ms() > end_ms, what="a later millisecond")
        later = NewRecord(b"x" * 300)
        cluster.produce(deployment.input_topic, [later] * 150_000)
        command = ["replay", "--to", str(end_ms), "--name", "tail", "--execute"]
        # The third commit: after the mark and the range, the first of what was read.
        interrupted = tool_signalled_at(signal.SIGINT, Step.COMMITTED, 3, *command)
        assert deployment.start(command=interrupted).wait(60) == 128 + signal.SIGINT
        begun = deployment.run("replay", "show", "tail").json
        assert begun["transactions"] == 1
        assert begun["percent"] < 100
        finished = _execute(deployment, "tail", "--to", str(end_ms))
        assert finished["counts"]["events"] == 1
        assert finished["transactions"] > 2


def test_a_filter_that_takes_nothing_of_many_partitions(cluster: Cluster, names: Names) -> None:
    """Each transaction settles a bounded number of ids, also killed in the middle and resumed.

    Together the ids of the range would not fit one record of the journal (16 bytes each).
    """
    partitions, each = 100, 700
    wanted = NewRecord(checkpoint("wanted", job="ftjob-wanted"), None, partitions - 1)
    others = [
        NewRecord(checkpoint(f"other_{partition}_{number}"), None, partition)
        for partition in range(partitions)
        for number in range(each)
    ]
    with Deployment(cluster, names, input_partitions=partitions, SHARDS=3) as deployment:
        cluster.produce(deployment.input_topic, [*others, wanted])
        options = ("--job", "ftjob-wanted")
        command = ["replay", "--name", "sparse", *options, "--execute"]
        # The first commits are the mark and the range; the kill is in the second of the rest.
        killed = deployment.start(command=tool_crashing_at(Step.SENT, 4, *command))
        assert killed.wait(60) == -signal.SIGKILL
        assert deployment.run("replay", "show", "sparse").json["transactions"] == 1
        finished = _execute(deployment, "sparse", *options)
        assert finished["counts"]["events"] == 1
        assert finished["counts"]["records"] == partitions * each + 1
        assert finished["transactions"] > 3
        assert [event_id(one) for one in _replayed(deployment, "sparse")] == ["wanted"]
        entries: dict[bytes, bytes | None] = {}
        for record in cluster.read(f"{deployment.group}.jobs"):
            entries[record.key or b""] = record.value
        settled = [value for key, value in entries.items() if key.startswith(b"s:")]
        assert settled == [None] * len(settled)


def test_another_topic_under_the_old_name_is_not_its_rest(cluster: Cluster, names: Names) -> None:
    """Made anew in the middle of a replay, shorter or longer: going on is refused."""
    with Deployment(cluster, names, input_partitions=1, SHARDS=1) as deployment:
        ids = numbered_ids(100)
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one)) for one in ids])
        command = ("replay", "--name", "anew", "--rate", "40", "--execute")
        replay = deployment.start(command=["consumer", *command])
        replay.wait_for_log("progress")
        replay.kill()
        cluster.delete_topics(deployment.input_topic)
        cluster.create_topics({deployment.input_topic: 1})
        for more in (10, 200):
            records = [NewRecord(checkpoint(f"new-{n}")) for n in range(more)]
            cluster.produce(deployment.input_topic, records)
            refused = deployment.run(*command)
            assert refused.exit_code == 1
            assert RECREATED in refused.complaint


def test_a_changelog_that_was_compacted_meanwhile_is_noticed(
    tidying_cluster: Cluster, names: Names
) -> None:
    """What left its window in the middle of a replay cannot be told from what live refused."""
    with Deployment(tidying_cluster, names, input_partitions=1, SHARDS=1) as deployment:
        records = [NewRecord(checkpoint(one)) for one in numbered_ids(100)]
        tidying_cluster.produce(deployment.input_topic, records)
        service = deployment.start()
        wait_until_handled(tidying_cluster, names)
        assert service.terminate() == 0
        command = ("replay", "--name", "aged", "--rate", "40", "--execute")
        replay = deployment.start(command=["consumer", *command])
        replay.wait_for_log("progress")
        replay.kill()
        _compact_away(deployment, numbered_ids(100)[-1])
        refused = deployment.run(*command)
        assert refused.exit_code == 1
        assert "1 ids have left the dedup window since replay aged began" in refused.complaint


def test_what_live_has_not_decided_is_decided_alike(cluster: Cluster, names: Names) -> None:
    """Ids that are not in the changelog are counted apart, and live then publishes the same."""
    with Deployment(cluster, names, input_partitions=1, SHARDS=1) as deployment:
        ids = numbered_ids(20)
        twice = [NewRecord(checkpoint(one, step_number=step)) for step in (1, 2) for one in ids]
        cluster.produce(deployment.input_topic, twice)
        plan = deployment.run("replay").json["plan"]
        assert plan["counts"]["not_in_changelog"] == plan["counts"]["events"] == len(ids)
        _execute(deployment, "ahead")
        service = deployment.start()
        wait_until_handled(cluster, names)
        assert service.terminate() == 0
        _assert_equals_live(deployment, "ahead")


def test_a_range_that_is_cut_is_refused(cluster: Cluster, names: Names) -> None:
    """By offset or by time: deleted records are named; --allow-truncated replays the rest."""
    with Deployment(cluster, names, input_partitions=1, SHARDS=1) as deployment:
        # A retention that has not reached the range: only what was published tells of the rest.
        cluster.set_config(deployment.input_topic, retention_ms=str(7 * 24 * 3600 * 1000))
        ids = numbered_ids(10)
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one)) for one in ids])
        service = deployment.start()
        wait_until_handled(cluster, names)
        assert service.terminate() == 0
        cluster.delete_records(deployment.input_topic, {0: 4})
        for start in ("0:2", "-1h"):
            refused = deployment.run("replay", "--from", start)
            assert refused.exit_code == 1
            assert TRUNCATED in refused.stderr
            assert re.search(r"first existing .* 4\b", refused.stderr)
            plan = deployment.run("replay", "--from", start, "--allow-truncated").json["plan"]
            assert plan["counts"]["events"] == 6
        refused = deployment.run("replay", "--to", "0:3")
        assert "all records before offset 3 are deleted" in refused.stderr
        assert deployment.run("replay").json["plan"]["gone"] == 4
        assert (
            deployment.run("replay", "--from", "-1h", "--allow-truncated").json["plan"]["gone"] == 4
        )


def test_a_replay_to_live_disturbs_neither_service_nor_group(
    cluster: Cluster, names: Names
) -> None:
    """Beside a running service: its group keeps its members, and it goes on publishing once."""
    with Deployment(cluster, names, input_partitions=SHARDS) as deployment:
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        ids = ids_at_home(0, SHARDS, 20)
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one)) for one in ids])
        wait_until_handled(cluster, names)
        members = cluster.group_members(deployment.group)
        _execute(deployment, "again", "--to-live")
        assert cluster.group_members(deployment.group) == members
        more = [NewRecord(checkpoint(one)) for one in [*ids, *ids_at_home(1, SHARDS, 20)]]
        cluster.produce(deployment.input_topic, more)
        wait_until_handled(cluster, names)
        events = Counter(
            (event_id(record), document(record).get("replayid"))
            for record in cluster.read(deployment.ready_topic)
        )
        live = {one: count for (one, replay), count in events.items() if replay is None}
        again = {one: count for (one, replay), count in events.items() if replay == "again"}
        assert again == dict.fromkeys(ids, 1)
        assert live == dict.fromkeys([*ids, *ids_at_home(1, SHARDS, 20)], 1)
        assert not service.logged("task_failed")


def _produce_history(deployment: Deployment) -> None:
    """Produce ids, most of them several times, under random keys: so most are forwarded.

    A tenth also comes with other content, on any partition, and there is poison.
    """
    cluster, ids = deployment.cluster, numbered_ids(IDS)
    records = [_record(number, one) for number, one in enumerate(ids)]
    repeats = [_record(number, ids[number]) for number in [*range(0, IDS, 2), *range(0, IDS, 5)]]
    conflicts = [_record(number, ids[number], step_number=7) for number in range(IDS // 10)]
    poison = [NewRecord(b"{"), NewRecord(checkpoint("", object="model"))]
    half = [*conflicts, *records[: IDS // 2], *poison]
    cluster.produce(deployment.input_topic, half)
    # There must be a time between, to cut a range at.
    produced_ms = wall_clock_ms()
    wait_until(lambda: wall_clock_ms() > produced_ms + 5, what="a later millisecond")
    cluster.produce(deployment.input_topic, [*records[IDS // 2 :], *repeats])


def _record(number: int, checkpoint_id: str, **fields: object) -> NewRecord:
    model = f"ft:gpt-4o-mini-2024-07-18:my-org::9ABel2dg:ckpt-step-{number % JOBS}"
    value = checkpoint(
        checkpoint_id, job=f"ftjob-{number % JOBS}", fine_tuned_model_checkpoint=model, **fields
    )
    return NewRecord(value, uuid.uuid4().bytes)


def _compact_away(deployment: Deployment, checkpoint_id: str) -> None:
    """Forget an id as a window does, and wait until its entry is cleaned from the changelog."""
    cluster, changelog = deployment.cluster, deployment.changelog_topic
    cluster.set_config(changelog, segment_ms="100", min_cleanable_dirty_ratio="0.001")
    key = id_key(id_digest(checkpoint_id))

    def is_gone() -> bool:
        cluster.produce(changelog, [NewRecord(None, key)])
        return not any(r.key == key and r.value is not None for r in cluster.read(changelog))

    wait_until(is_gone, 60, what="the end of an entry")


def _events(deployment: Deployment, *options: str) -> int:
    return int(deployment.run("replay", *options).json["plan"]["counts"]["events"])


def _execute(deployment: Deployment, name: str, *options: str) -> dict[str, Any]:
    finished = deployment.run("replay", "--name", name, *options, "--execute")
    assert finished.exit_code == 0, finished.stderr
    found = finished.json_lines[-1]["replay"]
    assert isinstance(found, dict)
    assert found["state"] == "finished"
    return found


def _replayed(deployment: Deployment, name: str) -> list[Record]:
    records = deployment.cluster.read(f"{deployment.ready_topic}.replay")
    return [record for record in records if document(record).get("replayid") == name]


def _live(deployment: Deployment) -> dict[str, Record]:
    return {event_id(record): record for record in deployment.cluster.read(deployment.ready_topic)}


def _assert_equals_live(deployment: Deployment, name: str) -> None:
    """Check that the replay holds the live events, each once, with one attribute more."""
    live, replayed = _live(deployment), _replayed(deployment, name)
    assert Counter(map(event_id, replayed)) == Counter(live.keys())
    suffix = f',"replayid":"{name}"}}'.encode()
    for record in replayed:
        original = live[event_id(record)]
        assert record.value is not None
        assert original.value is not None
        assert record.value == original.value[:-1] + suffix
        assert (record.key, record.headers) == (original.key, original.headers)
