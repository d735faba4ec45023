"""What a process needs of open files, and what it does about its limit."""

from __future__ import annotations

import resource

import pytest
from structlog.testing import capture_logs

from consumer.worker.open_files import needed_open_files, raise_open_files_limit, report_open_files


def test_fifty_shards_on_ten_brokers_need_more_than_a_common_soft_limit() -> None:
    """Each shard has two sockets for each broker and one for its coordinator."""
    assert needed_open_files(50, 10) > 50 * 21 > 1_024
    assert needed_open_files(3, 1) < 256


@pytest.mark.parametrize(
    ("before", "after", "in_force"),
    [
        ((1_024, 4_096), (4_096, 4_096), 4_096),
        ((4_096, 4_096), (4_096, 4_096), 4_096),
        (
            (1_024, resource.RLIM_INFINITY),
            (resource.RLIM_INFINITY,) * 2,
            resource.RLIM_INFINITY,
        ),
    ],
)
def test_the_soft_limit_becomes_the_hard_one(
    before: tuple[int, int], after: tuple[int, int], in_force: int
) -> None:
    """Only root may do more, and what root allowed is there to be used."""
    limits = [before]
    assert raise_open_files_limit(lambda: limits[-1], limits.append) == in_force
    assert limits[-1] == after


def test_a_sandbox_that_forbids_it_leaves_the_soft_limit() -> None:
    """The service starts all the same, and the line says what there is."""

    def refuse(_: tuple[int, int]) -> None:
        raise OSError(1, "Operation not permitted")

    assert raise_open_files_limit(lambda: (256, 4_096), refuse) == 256


@pytest.mark.parametrize(
    ("limit", "event", "level"),
    [
        (1_024, "open_files_limit_too_low", "warning"),
        (needed_open_files(50, 10), "open_files", "info"),
        (resource.RLIM_INFINITY, "open_files", "info"),
    ],
)
def test_one_line_says_what_is_needed(limit: int, event: str, level: str) -> None:
    """A warning names the number to set."""
    with capture_logs() as lines:
        report_open_files(limit, 50, 10)
    (line,) = lines
    assert (line["event"], line["log_level"]) == (event, level)
    assert (line["needed"], line["limit"]) == (needed_open_files(50, 10), limit)
    assert (str(line["needed"]) in line.get("hint", "")) == (level == "warning")
