"""The watchdog: work, and nobody who gets on with it."""

from collections.abc import Hashable

import pytest

from consumer.worker.stall_detector import (
    LONGEST_STEP_SECONDS,
    ProgressSample,
    Stall,
    StallDetector,
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
    """Return what is seen of a shard."""
    return ProgressSample(is_behind, state, handled or {"transactions": 7}, task, loaded)


class Bench:
    """A watchdog that looks once a second."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.dog = StallDetector(limit_seconds)
        self.now = 100.0

    def look(self, *progress_samples: ProgressSample, after_seconds: float = 1.0) -> Stall | None:
        """Let time pass and look at shards 0, 1, …."""
        self.now += after_seconds
        named = {f"shard {shard}": one for shard, one in enumerate(progress_samples)}
        return self.dog.look(self.now, named)


def test_work_without_progress_is_a_stall_after_the_limit() -> None:
    """Not before it, and it says what, how long and in which state."""
    bench = Bench()
    for _ in range(LIMIT_SECONDS):
        assert bench.look(sample()) is None
    assert bench.look(sample()) == Stall("shard 0", 10.0, "running")


def test_a_shard_at_rest_never_stalls() -> None:
    """Nothing to do is no reason to end."""
    bench = Bench()
    for _ in range(10 * LIMIT_SECONDS):
        assert bench.look(sample(is_behind=False)) is None


@pytest.mark.parametrize("what", ["transactions", "input/0"])
def test_slow_progress_is_progress(what: str) -> None:
    """One transaction, or one position of one source, just before the limit starts it anew."""
    bench = Bench()
    for done in range(10):
        for _ in range(LIMIT_SECONDS - 1):
            assert bench.look(sample({"other": 3, what: done})) is None


def test_one_stalled_shard_is_not_hidden_by_the_others() -> None:
    """Each shard is watched by itself."""
    bench = Bench()
    stalls = [bench.look(sample({"t": n}), sample()) for n in range(LIMIT_SECONDS + 1)]
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
            stall = stall or bench.look(one)
    assert stall is not None


def test_a_long_restore_is_progress_while_it_loads() -> None:
    """Ten times the limit, as long as each look finds more loaded; when it stands, it stalls."""
    bench = Bench()
    for loaded in range(10 * LIMIT_SECONDS):
        assert bench.look(sample({}, state="restoring", loaded=loaded)) is None
    stalls = [
        bench.look(sample({}, state="restoring", loaded=10 * LIMIT_SECONDS - 1))
        for _ in range(LIMIT_SECONDS)
    ]
    assert stalls[-1] == Stall("shard 0", 10.0, "restoring")
    assert not any(stalls[:-1])


def test_a_frozen_process_is_not_blamed_when_it_goes_on() -> None:
    """An hour between two looks counts as a few seconds."""
    bench = Bench()
    assert bench.look(sample()) is None
    assert bench.look(sample(), after_seconds=3600) is None
    assert LONGEST_STEP_SECONDS < LIMIT_SECONDS


def test_a_shard_that_went_away_begins_anew() -> None:
    """Moved away and back again, its old stall is forgotten."""
    bench = Bench()
    for _ in range(LIMIT_SECONDS):
        bench.look(sample())
    bench.look()
    assert bench.look(sample()) is None
    assert bench.look(sample()) is None


def test_it_can_be_turned_off() -> None:
    """With a limit of 0 nothing is ever a stall."""
    bench = Bench(0)
    assert not any(bench.look(sample()) for _ in range(100))
