"""The JSON lines of a job's progress."""

import msgspec
import pytest

from consumer.jobs.progress import Goal, ProgressLines


@pytest.mark.parametrize(
    ("limit", "written_before", "seconds_left"),
    [(None, 0, 90.0), (50, 0, 40.0), (70, 20, 40.0)],
)
def test_the_remaining_time_respects_the_limit_of_events(
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    written_before: int,
    seconds_left: float,
) -> None:
    """Ten offsets and ten events in ten seconds: of 100 offsets 90 are left, or 40 events."""
    moments = iter((0.0, 0.0, 0.0, 10.0, 10.0))
    monkeypatch.setattr("consumer.jobs.progress.time.monotonic", lambda: next(moments))
    lines: list[bytes] = []
    shown = ProgressLines(lines.append, "replay", Goal(100, 0, limit), "events")
    shown.show(0, written_before)
    shown.show(10, written_before + 10)
    (line,) = map(msgspec.json.decode, lines)
    assert line["seconds_left"] == pytest.approx(seconds_left, abs=0.1)
    assert (line["done"], line["total"]) == (10, 100)
