"""Parsing of --from and --to."""

import pytest

from consumer.errors import ConfigError
from consumer.jobs.ranges import PartitionOffset, parse_range

NOW_MS = 1_795_464_000_000
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("-48h", NOW_MS - 48 * HOUR_MS),
        ("-90s", NOW_MS - 90_000),
        ("-2d", NOW_MS - 48 * HOUR_MS),
        ("-30m", NOW_MS - 30 * 60_000),
        ("-999999d", 0),
        ("1795460000000", 1_795_460_000_000),
        ("2026-11-23T10:00:00Z", 1_795_428_000_000),
        ("2026-11-23T10:00:00.250Z", 1_795_428_000_250),
        ("2026-11-23T12:00:00+02:00", 1_795_428_000_000),
        ("1960-01-01T00:00:00Z", 0),
    ],
)
def test_times(text: str, time_ms: int) -> None:
    """Relative, in milliseconds, and RFC 3339 with any offset."""
    assert parse_range([text], [], NOW_MS).start.time_ms == time_ms


def test_offsets_of_several_partitions() -> None:
    """Given several times or with commas, with and without the topic."""
    found = parse_range(["0:10,1:20", "my.topic/2:30"], ["0:11"], NOW_MS)
    assert found.start.offsets == (
        PartitionOffset(None, 0, 10),
        PartitionOffset(None, 1, 20),
        PartitionOffset("my.topic", 2, 30),
    )
    assert found.end.offsets == (PartitionOffset(None, 0, 11),)
    assert found.start.time_ms is None


@pytest.mark.parametrize(
    ("starts", "ends", "complaint"),
    [
        (["1795460000"], [], "looks like epoch seconds"),
        (["2026-11-23"], [], "has no UTC offset"),
        (["-5w"], [], "is not one of these forms"),
        ([""], [], "is not one of these forms"),
        (["0:1", "-1h"], [], "give one time, or one offset"),
        (["-1h", "-2h"], [], "give one time, or one offset"),
        (["0:1", "0:2"], [], "names the same partition twice"),
        (["-1h"], ["-1h"], "must be before"),
        (["3:5"], ["3:5"], "partition 3: --from must be before --to"),
        (["0:-1"], [], "is not one of these forms"),
    ],
)
def test_wrong_values(starts: list[str], ends: list[str], complaint: str) -> None:
    """Each wrong value is refused with its reason."""
    with pytest.raises(ConfigError, match=complaint):
        parse_range(starts, ends, NOW_MS)
