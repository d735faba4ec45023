"""The answer of each probe for a process in each of its states."""

import pytest

from consumer.service.health import NO_ASSIGNMENT, SPARE, StartUp, is_alive, is_ready
from consumer.shard.status import ShardStatus, SourceStatus
from consumer.worker.engine import EngineStatus
from consumer.worker.stall_detector import Stall

RUNNING = ShardStatus(0, "running", 5, 1.0, has_run=True, sources=(SourceStatus("in", 0, 0, 0.2),))
RESTORING = ShardStatus(1, "restoring", 12, 0.34)
REFUSED = ShardStatus(2, "refused", refusal="its changelog is lost")
SILENT = ShardStatus(3, "running", has_run=True, sources=(SourceStatus("in", 3, 0, 12.4),))


def view(*shards: ShardStatus, is_member: bool = True, stall: Stall | None = None) -> EngineStatus:
    """Return the view of a process with these shards."""
    return EngineStatus(is_member=is_member, shards=shards, stall=stall)


@pytest.mark.parametrize(
    ("seen", "is_ok", "said"),
    [
        (view(RUNNING), True, "running: 0"),
        (view(), True, SPARE),
        (view(is_member=False), False, NO_ASSIGNMENT),
        (view(RUNNING, is_member=False), False, NO_ASSIGNMENT),
        (view(RUNNING, RESTORING), False, "shard 1 is restoring: 34%, 12 ids"),
        (view(RUNNING, REFUSED), False, "shard 2 must not run: its changelog is lost"),
        (view(ShardStatus(5, "fencing", hangs="it hangs")), False, "shard 5 waits: it hangs"),
        (view(ShardStatus(4, "waiting", has_run=True)), False, "shard 4 is waiting"),
        (view(RUNNING, SILENT), False, "shard 3: no broker has answered for in/3 for 12 s"),
    ],
)
def test_a_process_is_ready_if_it_does_all_of_its_work(
    seen: EngineStatus,
    is_ok: bool,  # noqa: FBT001 - a parameter of the table
    said: str,
) -> None:
    """It is in the group, each shard runs and the brokers answer; else the answer says what not."""
    answer = is_ready(seen)
    assert (answer.is_ok, answer.lines) == (is_ok, (said,))


@pytest.mark.parametrize(("silent_seconds", "is_ok"), [(60.0, True), (61.0, False)])
def test_a_shard_with_a_backlog_may_wait_longer_for_its_broker(
    silent_seconds: float,
    is_ok: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """It sends no fetch while it handles the records fetched ahead; that takes under a minute."""
    busy = ShardStatus(0, "running", sources=(SourceStatus("in", 0, 9_000, silent_seconds),))
    assert is_ready(view(busy)).is_ok is is_ok


@pytest.mark.parametrize(
    ("stalled_seconds", "watchdog_seconds", "is_ok"),
    [(10.0, 300, True), (300.0, 300, False), (9_000.0, 0, True)],
)
def test_a_process_is_alive_until_a_stall_reaches_the_limit(
    stalled_seconds: float,
    watchdog_seconds: int,
    is_ok: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """The limit is that of the stall detector; without one the answer only reports the stall."""
    stall = Stall("shard 1", stalled_seconds, "fencing")
    answer = is_alive(view(stall=stall), watchdog_seconds)
    assert answer.is_ok is is_ok
    assert answer.lines == (
        f"shard 1: work is pending, but no progress for {stalled_seconds:g} s (fencing)",
    )


def test_a_start_up_that_is_over_does_not_begin_again() -> None:
    """Only the first assignment counts; later restores, rebalances and refusals do not."""
    start_up = StartUp()
    assert not start_up.is_over(view(is_member=False)).is_ok
    restoring = start_up.is_over(view(RUNNING, RESTORING, REFUSED))
    assert (restoring.is_ok, restoring.lines) == (False, ("shard 1 is restoring: 34%, 12 ids",))
    assert start_up.is_over(view(RUNNING, REFUSED)).is_ok
    assert start_up.is_over(view(RESTORING)).is_ok
    assert start_up.is_over(view(is_member=False)).is_ok


def test_a_shard_that_fails_after_its_restore_does_not_hold_up_the_start() -> None:
    """It was restored once, and only that counts here."""
    assert StartUp().is_over(view(ShardStatus(0, "waiting", has_run=True))).is_ok
    assert not StartUp().is_over(view(ShardStatus(0, "waiting"))).is_ok
