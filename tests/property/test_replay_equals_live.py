"""A replay publishes what live published, whatever the order, the cutting and the crashes."""

import json
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from consumer.jobs.replay.origins import PublishedOrigins
from consumer.pipeline.decider import Decider, Decision, apply
from consumer.pipeline.records import ReadyRecord, SourceBatch
from consumer.pipeline.replay_decider import ReplayDecision, Replayer, Selection
from consumer.pipeline.routing import strip_origin
from consumer.pipeline.seen_ids import SeenIds, id_digest
from consumer.shard.changelog import id_key, id_record
from tests.builders import (
    NO_CEILING_MS,
    TOPIC,
    Record,
    batch,
    checkpoint,
    record,
    shard_settings,
)

SHARDS = 2
IDS = ("a", "b", "c", "d", "e")
GUID = "89791762-2336-4186-9674-299b90a802e2"
MAX_BYTES = 1_048_588
Place = tuple[int, int]  # partition, offset


class Live(NamedTuple):
    """What live published, by id, and the changelog that it left behind."""

    events: dict[str, ReadyRecord]
    log: list[Record]


# A record: its partition, its id (None: poison) and which of several contents it has.
arrivals = st.lists(
    st.tuples(st.integers(0, 3), st.none() | st.sampled_from(IDS), st.sampled_from(("one", "two"))),
    max_size=30,
)


@given(arrivals=arrivals, forgotten=st.sets(st.sampled_from(IDS)), data=st.data())
def test_a_replay_publishes_what_live_did(
    arrivals: list[tuple[int, str | None, str]], forgotten: set[str], data: st.DataObject
) -> None:
    """Each id once, and each that the changelog knows byte for byte, but for the replay's name."""
    partitions = _partitions(arrivals)
    live = _run_live(arrivals, partitions)
    origins = PublishedOrigins()
    origins.load(0, live.log)
    tombstones = [_entry(id_key(id_digest(one)), None) for one in sorted(forgotten)]
    origins.load(0, tombstones)

    events = _run_replay(origins, partitions, data)

    replayed = {event.id: event for event in events}
    assert len(events) == len(replayed)
    assert replayed.keys() == live.events.keys()
    for one, event in replayed.items():
        if one not in forgotten:
            original = live.events[one]
            assert event.value == original.value[:-1] + b',"replayid":"again"}'
            assert (event.key, event.headers) == (original.key, original.headers)


def _partitions(arrivals: list[tuple[int, str | None, str]]) -> dict[int, list[Record]]:
    partitions: dict[int, list[Record]] = {number: [] for number in range(4)}
    for number, one, content in arrivals:
        offset = len(partitions[number])
        value = None if one is None else checkpoint(id=one, fine_tuned_model_checkpoint=content)
        partitions[number].append(record(value, raw=b"{", offset=offset))
    return partitions


def _run_live(
    arrivals: list[tuple[int, str | None, str]], partitions: dict[int, list[Record]]
) -> Live:
    """Decide in the order of arrival; what is forwarded is decided at once, at its home."""
    seen = [SeenIds(0) for _ in range(SHARDS)]
    live = Live({}, [])
    offsets = dict.fromkeys(partitions, 0)
    for number, _, _ in arrivals:
        sent = partitions[number][offsets[number]]
        offsets[number] += 1
        source = batch(sent, partition=number)
        shard = number % SHARDS
        for forwarded in _decide(seen, shard, source, live).forwards:
            there = Record(0, 0, forwarded.key, forwarded.value, forwarded.headers)
            assert strip_origin(there.headers)[1].partition == number
            again = batch(there, topic="repartition", partition=forwarded.shard, forwarded=True)
            _decide(seen, forwarded.shard, again, live)
    return live


def _decide(seen: list[SeenIds], shard: int, source: SourceBatch, live: Live) -> Decision:
    decision = Decision()
    settings = shard_settings(shard=shard, shards=SHARDS, schema_guid=GUID)
    Decider(settings, seen[shard]).decide(source, decision, NO_CEILING_MS)
    apply(seen[shard], decision)
    live.events.update({event.id: event for event in decision.ready})
    live.log.extend(_entry(*id_record(d, entry)) for d, entry in decision.entries.items())
    return decision


def _run_replay(
    origins: PublishedOrigins, partitions: dict[int, list[Record]], data: st.DataObject
) -> list[ReadyRecord]:
    """Replay partition by partition in any order, in chunks, each committed or lost in a crash."""
    published: list[ReadyRecord] = []
    settled: dict[bytes, None] = {}
    replayer = _replayer(origins)
    for number in data.draw(st.permutations(sorted(partitions))):
        position = 0
        while position < len(partitions[number]):
            chunk = partitions[number][position : position + data.draw(st.integers(1, 4))]
            decision = ReplayDecision()
            room = data.draw(st.integers(1, 3))
            handled = replayer.decide((TOPIC, number), chunk, decision, room)
            if data.draw(st.booleans()):
                published += decision.events
                settled |= decision.settled
                replayer.settle(decision.settled)
                position += handled
            elif data.draw(st.booleans()):  # a crash: a new process knows what was committed
                replayer = _replayer(origins)
                replayer.settle(settled)
    return published


def _replayer(origins: PublishedOrigins) -> Replayer:
    shards = [
        shard_settings(shard=shard, shards=SHARDS, schema_guid=GUID) for shard in range(SHARDS)
    ]
    return Replayer.of(shards, origins, Selection(), "again", MAX_BYTES)


def _entry(key: bytes, value: bytes | None) -> Record:
    return Record(0, 0, key, value, [])


def test_the_strategy_reaches_what_it_must() -> None:
    """The builder makes what the property is about: conflicts, forwards and poison."""
    arrivals: list[tuple[int, str | None, str]] = [
        (number, one, content) for number in range(4) for one in IDS for content in ("one", "two")
    ]
    live = _run_live([*arrivals, (0, None, "one")], _partitions([*arrivals, (0, None, "one")]))
    assert live.events.keys() == set(IDS)
    origins = {
        json.loads(event.value)["data"]["origin"]["partition"] for event in live.events.values()
    }
    assert origins == {0}
