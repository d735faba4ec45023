"""A release that changes the comparison form, beside the one before it: live, restored, replayed.

The next release is planted: form 2 says that the unknown field `fetched_at` makes no difference.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from consumer.errors import StateCorrupted
from consumer.jobs.backfill.forecast import AcceptedElements
from consumer.jobs.replay.origins import PublishedOrigins
from consumer.pipeline.decider import CONTENT_OF_A_NEWER_RELEASE, Decision
from consumer.pipeline.decode import canonical
from consumer.pipeline.decode import checkpoint as decode_checkpoint
from consumer.pipeline.records import Reason
from consumer.pipeline.replay_decider import ReplayDecision, Replayer, Selection
from consumer.shard import changelog
from consumer.shard.changelog import ShardState
from consumer.shard.transaction import apply_to_memory, changelog_records
from tests.builders import TOPIC, Record, batch, checkpoint, decide, record, shard_settings

FIRST, AGAIN = checkpoint(fetched_at=1), checkpoint(fetched_at=2)
OTHER = checkpoint(step_number=89)


def second_form(document: dict[str, Any]) -> dict[str, Any]:
    """Return form 1 without the field."""
    form = canonical.FORMS[1](document)
    return {name: item for name, item in form.items() if name != "fetched_at"}


@contextmanager
def next_release() -> Iterator[None]:
    """Run the release that knows form 2 too, and writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(canonical.FORMS, 2, second_form)
        patch.setattr(canonical, "WRITTEN_FORM", 2)
        known = "known_digest"
        patch.setattr(decode_checkpoint, known, lambda form: canonical.digest_in(2, form))
        yield


class Shard:
    """A shard whose memory is restored from its changelog before each record."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.events: list[Record] = []

    def handle(self, value: object) -> Decision:
        """Restore, decide about one record, and commit."""
        state = ShardState(0)
        state.load(self.log)
        source = record(value, offset=len(self.events))
        self.events.append(source)
        decision = decide(batch(source), seen=state.seen)
        for key, content in changelog_records(decision, {}):
            self.log.append(Record(len(self.log), 0, key, content, []))
        apply_to_memory(state, decision, {})
        return decision

    def replay(self) -> ReplayDecision:
        """Replay all records."""
        origins = PublishedOrigins()
        origins.load(0, self.log)
        replayer = Replayer.of([shard_settings()], origins, Selection(), "again", 1_048_588)
        decision = ReplayDecision()
        replayer.decide((TOPIC, 0), self.events, decision, 100)
        return decision


def outcome(decision: Decision) -> str:
    """Return what became of the one record."""
    if decision.ready:
        return "ready"
    return str(decision.dead_letters[0].reason) if decision.dead_letters else "duplicate"


def test_the_planted_form_is_another_one() -> None:
    """In form 1 the field counts, in form 2 it does not."""
    shard = Shard()
    assert outcome(shard.handle(FIRST)) == "ready"
    assert outcome(shard.handle(AGAIN)) == "conflicting_duplicate"
    with next_release():
        shard = Shard()
        assert outcome(shard.handle(FIRST)) == "ready"
        assert outcome(shard.handle(AGAIN)) == "duplicate"
        assert outcome(shard.handle(OTHER)) == "conflicting_duplicate"


def test_an_upgrade_makes_no_conflict() -> None:
    """What the release before has published and refused is a duplicate for the next one."""
    shard = Shard()
    assert outcome(shard.handle(FIRST)) == "ready"
    assert outcome(shard.handle(OTHER)) == "conflicting_duplicate"
    with next_release():
        assert outcome(shard.handle(FIRST)) == "duplicate"
        assert outcome(shard.handle(OTHER)) == "duplicate"
        assert outcome(shard.handle(checkpoint(step_number=90))) == "conflicting_duplicate"
        assert outcome(shard.handle(checkpoint(id="new"))) == "ready"


def test_an_older_release_never_publishes_again() -> None:
    """It cannot compare with a digest of form 2: each content becomes a dead letter, once."""
    shard = Shard()
    with next_release():
        assert outcome(shard.handle(FIRST)) == "ready"
    refused = shard.handle(FIRST)
    assert outcome(refused) == "conflicting_duplicate"
    assert CONTENT_OF_A_NEWER_RELEASE in refused.dead_letters[0].message
    assert outcome(shard.handle(FIRST)) == "duplicate"
    with next_release():
        assert outcome(shard.handle(FIRST)) == "duplicate"


def test_a_release_that_only_knows_the_next_form() -> None:
    """Between the two: it reads both forms and writes the old one, so all three understand it."""
    shard = Shard()
    with next_release():
        assert outcome(shard.handle(FIRST)) == "ready"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(canonical.FORMS, 2, second_form)
        assert outcome(shard.handle(FIRST)) == "duplicate"
        assert outcome(shard.handle(checkpoint(id="b"))) == "ready"
    assert outcome(shard.handle(checkpoint(id="b"))) == "duplicate"
    with next_release():
        assert outcome(shard.handle(checkpoint(id="b"))) == "duplicate"


@pytest.mark.parametrize("is_newer", [False, True])
def test_a_replay_finds_origins_of_either_release(*, is_newer: bool) -> None:
    """Written by the one and replayed by the other, each id is published from its own record."""
    shard = Shard()
    if is_newer:
        with next_release():
            shard.handle(FIRST)
        replayed = shard.replay()
    else:
        shard.handle(FIRST)
        with next_release():
            replayed = shard.replay()
    assert [event.origin.offset for event in replayed.events] == [0]
    assert (replayed.counts.origins, replayed.counts.duplicates) == (1, 0)


def test_a_backfill_plan_compares_in_either_form() -> None:
    """A plan of the next release foresees duplicates of what the release before has published."""
    shard = Shard()
    shard.handle(FIRST)
    state = ShardState(0)
    state.load(shard.log)
    with next_release():
        contents = AcceptedElements()
        for document in (FIRST, OTHER, checkpoint(id="new")):
            contents.add(decode_checkpoint.decode(json.dumps(document).encode()))
        forecast = contents.forecast(state.seen, 0)
    assert (forecast.published, forecast.conflicting, forecast.new) == (1, 1, 1)


def test_a_layout_is_read_by_one_release_before_it_is_written() -> None:
    """A release that knows layout 4 too reads entries of it; this one refuses them, loudly."""
    shard = Shard()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changelog, "FORMAT_VERSION", 4)
        patch.setattr(changelog, "READABLE_VERSIONS", frozenset({3, 4}))
        assert outcome(shard.handle(FIRST)) == "ready"
    with pytest.raises(StateCorrupted, match="version 4"):
        ShardState(0).load(shard.log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changelog, "READABLE_VERSIONS", frozenset({3, 4}))
        assert outcome(shard.handle(FIRST)) == "duplicate"


def test_the_reason_of_what_cannot_be_compared_is_not_counted_by_the_limit() -> None:
    """It is the one of conflicting duplicates, which the dead-letter limit leaves out."""
    shard = Shard()
    with next_release():
        shard.handle(FIRST)
    assert shard.handle(FIRST).counts.dead_letters == {Reason.CONFLICTING_DUPLICATE: 1}
