"""The recent activity of a process: rates of the last minute, last events, dead letters."""

import json

import pytest

from consumer.pipeline.records import ReadyRecord
from consumer.service.recent_activity import KEPT_EVENTS, MAX_KEPT_BYTES, RecentActivity
from consumer.shard.events import TransactionReport
from schemas.ready_event import Origin

MODEL = "ft:gpt-4o:acme::x:ckpt-step-8"


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def report(*events: ReadyRecord, consumed: int = 0, shard: int = 0) -> TransactionReport:
    """Return a transaction of these events."""
    return TransactionReport(
        shard=shard,
        consumed=consumed,
        published=len(events),
        duplicates=0,
        conflicting=0,
        dead_letters={"too_deep": 2},
        forwarded=0,
        expired=0,
        next_offsets={},
        duration_ms=1.0,
        events=[],
        dead_letter_fields=[],
        suppressed_events=0,
        consumed_by_topic={},
        ready=events,
    )


def ready(event_id: str, *, binary_mode: bool = False, padding: str = "") -> ReadyRecord:
    """Return a ready event, encoded as its mode requires."""
    data = {"checkpoint": {"fine_tuned_model_checkpoint": MODEL, "more": padding}}
    value = json.dumps(data if binary_mode else {"data": data}).encode()
    return ReadyRecord(event_id, "job", b"", value, [], 0, Origin("in", 0, 0, 0))


@pytest.mark.parametrize("binary_mode", [False, True])
def test_the_last_events_are_kept_with_their_models(binary_mode: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """The newest one is first, in both modes. Older ones are dropped."""
    clock = Clock()
    recent = RecentActivity(clock, binary_mode=binary_mode)
    for number in range(KEPT_EVENTS + 5):
        recent.on_transaction(report(ready(f"id-{number}", binary_mode=binary_mode), shard=3))
        clock.now += 1
    events = recent.events
    assert [event.id for event in events] == [f"id-{12 - index}" for index in range(KEPT_EVENTS)]
    assert {event.model for event in events} == {MODEL}
    assert events[0].shard == 3
    assert [event.seconds_ago for event in events[:2]] == [1.0, 2.0]


def test_a_large_event_is_shown_without_its_model() -> None:
    """A name in the page is not worth megabytes of memory."""
    recent = RecentActivity(Clock(), binary_mode=False)
    recent.on_transaction(report(ready("large", padding="x" * MAX_KEPT_BYTES)))
    assert [(event.id, event.model) for event in recent.events] == [("large", "")]


def test_rates_are_those_of_the_last_minute() -> None:
    """A process younger than a minute divides by its age; older records do not count."""
    clock = Clock()
    recent = RecentActivity(clock, binary_mode=False)
    assert recent.rate(0) == (0.0, 0.0)
    clock.now += 10
    recent.on_transaction(report(ready("a"), ready("b"), consumed=40))
    recent.on_transaction(report(consumed=10))
    assert recent.rate(0) == (5.0, 0.2)
    assert recent.rate(1) == (0.0, 0.0)
    clock.now += 50
    assert recent.rate(0) == (50 / 60, 2 / 60)
    clock.now += 60
    assert recent.rate(0) == (0.0, 0.0)
    assert recent.dead_letters == {"too_deep": 4}
    assert recent.uptime_seconds == 120.0
