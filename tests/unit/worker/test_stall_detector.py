"""Stall detection: which samples add up to a stall."""

from collections.abc import Hashable

import pytest

from consumer.kafka.types import TopicPartition
from consumer.shard.status import REFUSED, WAITING, ShardStatus
from consumer.worker.stall_detector import (
    LONGEST_STEP_SECONDS,
    ProgressSample,
    Stall,
    StallDetector,
    sample_shards,
)

LIMIT_SECONDS = 10


def sample(
    handled: dict[Hashable, int] | None = None,
    *,
    is_behind: bool = True,
    state: str = "running",
    task: int = 1,
    loaded: int = 0,
) -> ProgressSample:
    """Return a sample of a shard."""
    return ProgressSample(is_behind, state, handled or {"transactions": 7}, task, loaded)


class Bench:
    """A stall detector that checks once a second."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.detector = StallDetector(limit_seconds)
        self.now = 100.0

    def check(self, *progress_samples: ProgressSample, after_seconds: float = 1.0) -> Stall | None:
        """Let time pass and check shards 0, 1, …."""
        self.now += after_seconds
        named = {f"shard {shard}": one for shard, one in enumerate(progress_samples)}
        return self.detector.check(self.now, named)


def test_work_without_progress_is_a_stall_after_the_limit() -> None:
    """Not before it; the stall has name, duration and state."""
    bench = Bench()
    for _ in range(LIMIT_SECONDS):
        assert bench.check(sample()) is None
    assert bench.check(sample()) == Stall("shard 0", 10.0, "running")


def test_a_shard_at_rest_never_stalls() -> None:
    """Nothing to do is no reason to end."""
    bench = Bench()
    for _ in range(10 * LIMIT_SECONDS):
        assert bench.check(sample(is_behind=False)) is None


@pytest.mark.parametrize("what", ["transactions", "input/0"])
def test_slow_progress_is_progress(what: str) -> None:
    """One transaction, or one position of one source, just before the limit resets it."""
    bench = Bench()
    for done in range(10):
        for _ in range(LIMIT_SECONDS - 1):
            assert bench.check(sample({"other": 3, what: done})) is None


def test_one_stalled_shard_is_not_hidden_by_the_others() -> None:
    """Each shard is watched by itself."""
    bench = Bench()
    stalls = [bench.check(sample({"t": n}), sample()) for n in range(LIMIT_SECONDS + 1)]
    assert stalls[-1] is not None
    assert stalls[-1].name == "shard 1"


def test_failing_again_and_again_is_no_progress() -> None:
    """New tasks that restore the same and begin at the same place have done nothing."""
    bench = Bench()
    stall = None
    for task in range(LIMIT_SECONDS):
        for one in (
            sample({}, state="restoring", task=task, loaded=50),
            sample({"input/0": 5, "transactions": 7}, task=task),
        ):
            stall = stall or bench.check(one)
    assert stall is not None


def test_a_long_restore_is_progress_while_it_loads() -> None:
    """Ten times the limit, while each check finds more loaded; without progress it stalls."""
    bench = Bench()
    for loaded in range(10 * LIMIT_SECONDS):
        assert bench.check(sample({}, state="restoring", loaded=loaded)) is None
    stalls = [
        bench.check(sample({}, state="restoring", loaded=10 * LIMIT_SECONDS - 1))
        for _ in range(LIMIT_SECONDS)
    ]
    assert stalls[-1] == Stall("shard 0", 10.0, "restoring")
    assert not any(stalls[:-1])


def test_a_frozen_process_has_not_stalled_meanwhile() -> None:
    """An hour between two checks counts as a few seconds."""
    bench = Bench()
    assert bench.check(sample()) is None
    assert bench.check(sample(), after_seconds=3600) is None
    assert LONGEST_STEP_SECONDS < LIMIT_SECONDS


def test_a_shard_that_moved_away_starts_again_from_zero() -> None:
    """When it comes back, its old stall is forgotten."""
    bench = Bench()
    for _ in range(LIMIT_SECONDS):
        bench.check(sample())
    bench.check()
    assert bench.check(sample()) is None
    assert bench.check(sample()) is None


def test_it_can_be_turned_off() -> None:
    """With a limit of 0 nothing is ever a stall."""
    bench = Bench(0)
    assert not any(bench.check(sample()) for _ in range(100))


STUCK_SECONDS = 60.0
RUNNING = ShardStatus(
    0,
    "running",
    attempts=2,
    handled_records=5,
    is_behind=False,
    last_beat=100.0,
    positions={TopicPartition("input", 0): 8, TopicPartition("forwards", 0): 9},
)


def sampled(
    *statuses: ShardStatus, wanted: frozenset[int] = frozenset({0}), now: float = 100.0
) -> dict[str, ProgressSample]:
    """Return the samples of these shards."""
    return sample_shards(
        statuses,
        wanted=wanted,
        now=now,
        stuck_seconds=STUCK_SECONDS,
        repartition_topic="forwards",
    )


def test_positions_in_the_repartition_topic_are_no_progress() -> None:
    """Watermark announcements move them while nothing is handled."""
    handled: dict[Hashable, int] = {"records": 5, TopicPartition("input", 0): 8}
    expected = ProgressSample(is_behind=False, state="running", handled=handled, task=2)
    assert sampled(RUNNING) == {"shard 0": expected}


def test_a_shard_is_behind_without_heartbeat_and_when_it_should_end() -> None:
    """A task that hangs may believe that it has nothing to do."""
    assert not sampled(RUNNING, now=100.0 + STUCK_SECONDS)["shard 0"].is_behind
    assert sampled(RUNNING, now=101.0 + STUCK_SECONDS)["shard 0"].is_behind
    assert sampled(RUNNING, wanted=frozenset())["shard 0"].is_behind
    assert sampled(ShardStatus(0, WAITING))["shard 0"].is_behind


def test_a_shard_that_waits_for_an_operator_is_not_sampled() -> None:
    """A new process could do no more for it."""
    refused = ShardStatus(0, REFUSED, refusal="lost")
    assert sampled(refused, ShardStatus(1, "fencing", hangs="it hangs")) == {}
