"""A provider with wrong answers does not stop an account, and costs bounded time and memory."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from consumer.sources.poll import account_poller
from consumer.sources.poll.job_book import JobBook
from consumer.sources.poll.poller import poll_once
from consumer.sources.poll.retry_delay import MAX_RETRY_AFTER_SECONDS
from tests.support import documents
from tests.support.polling import polling
from tests.support.provider_server import ProviderServer, Request, Response, once, times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Start a provider without jobs."""
    with ProviderServer() as server:
        yield server


def page(elements: list[dict[str, Any]], *, has_more: bool) -> Response:
    """Return a list response."""
    return Response(200, json.dumps({"data": elements, "has_more": has_more}).encode())


def ended(job: str) -> dict[str, Any]:
    """Return an ended job."""
    return {"id": job, "status": "succeeded", "created_at": 1}


def jobs_only(respond: Callable[[Request], Response]) -> Callable[[Request], Response | None]:
    """Return a fault for the list of the jobs."""
    return lambda request: respond(request) if request.path.endswith("/jobs") else None


def checkpoints_of_any_job(request: Request) -> Response | None:
    """Respond with one checkpoint."""
    if not request.path.endswith("/checkpoints"):
        return None
    job = request.path.split("/")[-2]
    return page([documents.checkpoint(id=f"{job}-c")], has_more=False)


def events(logs: list[Any], name: str) -> list[Any]:
    """Return the log lines of an event."""
    return [line for line in logs if line["event"] == name]


FAR = ["1764256000", "999999999999", "9" * 300, "Fri, 31 Dec 9999 23:59:59 GMT"]


@pytest.mark.parametrize("value", FAR)
async def test_a_silly_retry_after_stops_an_account_for_an_hour_at_most(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """An epoch value or a far date: it is logged once, with the time that is waited."""
    provider.add_job("one", checkpoints=1)
    provider.faults.append(once(Response(429, headers={"Retry-After": value})))
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            assert not (await setup.poller.run_pass()).is_good
            assert not (await setup.poller.run_pass()).is_good
        (line,) = events(logs, "retry_after_too_long")
        assert (line["account"], line["waiting_seconds"]) == ("acme", MAX_RETRY_AFTER_SECONDS)
        assert "asks to wait 3600 s" in events(logs, "poll_failed")[0]["error"]
        assert len(provider.requests) == 1
        later = time.monotonic() + MAX_RETRY_AFTER_SECONDS
        monkeypatch.setattr("consumer.sources.poll.http_client.time.monotonic", lambda: later)
        assert (await setup.poller.run_pass()).is_good
        assert setup.sink.ids == provider.ids


async def test_responses_to_concurrent_requests_are_logged_once(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Each of them asks for the same wait."""
    for number in range(8):
        provider.add_job(f"job-{number}", checkpoints=1)
    provider.faults.append(
        times(8, Response(429, headers={"Retry-After": FAR[0]}, delay_seconds=0.2), "/checkpoints")
    )
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            await setup.poller.run_pass()
        assert len(events(logs, "retry_after_too_long")) == 1


async def test_a_cycle_in_the_list_of_jobs_is_a_problem_and_its_jobs_are_listed(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The pages lead from a to b and back to a."""

    def cycle(request: Request) -> Response:
        return page([ended("b" if request.query.get("after") == "a" else "a")], has_more=True)

    provider.faults += [jobs_only(cycle), checkpoints_of_any_job]
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            report = await setup.poller.run_pass()
        assert (report.problems, report.requests) == (1, 5)
        (line,) = events(logs, "poll_failed")
        assert "repeats a cursor of the list of jobs" in line["error"]
        assert sorted(setup.sink.ids) == ["a-c", "b-c"]
        assert not await poll_once([setup.poller])


async def test_a_cycle_in_a_list_of_checkpoints_is_a_problem_of_its_job(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """What it has is sent, and the other jobs arrive."""
    provider.add_job("bad")
    provider.add_job("good", checkpoints=1)

    def cycle(request: Request) -> Response | None:
        if "/bad/" not in request.path:
            return None
        name = "b" if request.query.get("after") == "a" else "a"
        return page([documents.checkpoint(id=name)], has_more=True)

    provider.faults.append(cycle)
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            report = await setup.poller.run_pass()
        assert (report.problems, report.requests) == (1, 5)
        (line,) = events(logs, "poll_failed")
        assert line["job"] == "bad"
        assert "repeats a cursor of the list of checkpoints" in line["error"]
        assert sorted(setup.sink.ids) == ["a", "b", *provider.ids]


def endless_jobs() -> Callable[[Request], Response]:
    """Return responses that always have another new job."""
    numbers = itertools.count()
    return lambda _: page([ended(f"job-{next(numbers)}")], has_more=True)


async def test_checkpoints_are_listed_while_the_list_of_jobs_has_not_ended(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass reads some pages, and the next pass continues behind them. No pass is a success."""
    monkeypatch.setattr(account_poller, "MAX_JOB_PAGES", 3)
    provider.faults += [jobs_only(endless_jobs()), checkpoints_of_any_job]
    async with polling(provider, tmp_path) as setup:
        for number in (1, 2):
            report = await setup.poller.run_pass()
            assert report.is_good
            assert report.is_paused
            assert len(setup.sink.ids) == 3 * number
        assert setup.metric("last_success_timestamp_seconds") == 0
    listings = [one.query.get("after") for one in provider.requests if one.path.endswith("jobs")]
    assert listings == [None, *(f"job-{number}" for number in range(5))]


async def test_a_slow_list_of_jobs_is_interrupted_too(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its time instead of its pages."""
    monkeypatch.setattr(account_poller, "MAX_JOB_SECONDS", 0.0)
    provider.faults += [jobs_only(endless_jobs()), checkpoints_of_any_job]
    async with polling(provider, tmp_path) as setup:
        assert (await setup.poller.run_pass()).is_paused
        assert setup.sink.ids == ["job-0-c"]


async def test_a_long_list_of_jobs_ends_over_several_passes(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--once` continues until its end, and jobs that are listed no more are forgotten."""
    monkeypatch.setattr(account_poller, "MAX_JOB_PAGES", 2)
    for number in range(9):
        provider.add_job(f"job-{number}", checkpoints=1)
    async with polling(provider, tmp_path, page_size=2) as setup:
        assert await poll_once([setup.poller])
        assert sorted(setup.sink.ids) == sorted(provider.ids)
        assert setup.poller._book.unfinished == 9  # noqa: SLF001 - the jobs in memory
        provider.hidden.add("job-4")
        assert await poll_once([setup.poller])
        assert setup.poller._book.unfinished == 8  # noqa: SLF001 - the jobs in memory
        assert (setup.metric("last_success_timestamp_seconds") or 0) > 0


async def test_endless_new_jobs_need_bounded_memory(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The list is given up when too many jobs wait. This is a problem, and ends `--once`."""
    provider.faults += [jobs_only(endless_jobs()), checkpoints_of_any_job]
    async with polling(provider, tmp_path, max_jobs_per_pass=5) as setup:
        book = setup.poller._book = JobBook(max_unfinished=20)  # noqa: SLF001 - a small limit
        with capture_logs() as logs:
            assert not await poll_once([setup.poller])
        assert book.unfinished == 15
        (line,) = events(logs, "poll_failed")
        assert "too many jobs wait (20)" in line["error"]
        assert len(setup.sink.ids) == 5


async def test_a_pass_begins_no_job_after_its_time(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next pass begins with the jobs that are left, and no job is forgotten."""
    for number in range(5):
        provider.add_job(f"job-{number}", checkpoints=1)
    async with polling(provider, tmp_path) as setup:
        monkeypatch.setattr(account_poller, "MAX_PASS_SECONDS", 0.0)
        report = await setup.poller.run_pass()
        assert (report.jobs_listed, report.jobs_waiting, report.is_good) == (0, 5, True)
        monkeypatch.undo()
        assert await poll_once([setup.poller])
        assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_a_job_without_checkpoints_is_no_problem_of_every_pass(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """After three passes it is left out with one log line, and the passes are good."""
    provider.add_job("one", checkpoints=1)
    provider.add_job("bare")
    provider.faults.append(times(99, Response(404), "/bare/"))
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            reports = [await setup.poller.run_pass() for _ in range(6)]
        assert [report.is_good for report in reports] == [False, False, True, True, True, True]
        assert [report.jobs_left_out for report in reports] == [0, 0, 1, 1, 1, 1]
        assert provider.count("/bare/checkpoints") == 3
        (line,) = events(logs, "poll_job_left_out")
        assert (line["account"], line["job"]) == ("acme", "bare")
        assert setup.metric("left_out_jobs") == 1
        assert (setup.metric("last_success_timestamp_seconds") or 0) > 0
        provider.faults.clear()
        provider.end_job("bare")
        provider.add_checkpoints("bare", 2)
        assert (await setup.poller.run_pass()).jobs_left_out == 0
        assert sorted(setup.sink.ids) == sorted(provider.ids)


@pytest.mark.parametrize("unit", [1, 1000])
async def test_a_time_of_end_in_the_future_does_not_list_a_job_forever(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: int
) -> None:
    """Also a time in milliseconds."""
    provider.add_job("one", checkpoints=1)
    provider.end_job("one")
    offset = 3600 if unit == 1 else -3600
    provider.jobs["one"]["finished_at"] = int(time.time() + offset) * unit
    async with polling(provider, tmp_path) as setup:
        await setup.poller.run_pass()
        later = time.monotonic() + 121
        monkeypatch.setattr("consumer.sources.poll.account_poller.time.monotonic", lambda: later)
        await setup.poller.run_pass()
        listed = provider.count("/checkpoints")
        assert listed == (2 if unit == 1 else 1)
        await setup.poller.run_pass()
        assert provider.count("/checkpoints") == listed


async def test_absurd_times_are_no_bug(provider: ProviderServer, tmp_path: Path) -> None:
    """A job with a number that is no time is listed as one without this time."""
    provider.add_job("one", checkpoints=1)
    provider.add_job("two", checkpoints=1)
    provider.jobs["one"] |= {"created_at": 10**400, "finished_at": 10**400}
    async with polling(provider, tmp_path) as setup:
        assert (await setup.poller.run_pass()).is_good
        assert sorted(setup.sink.ids) == sorted(provider.ids)


INVALID = {"id": "bad", "object": "fine_tuning.job.checkpoint", "metrics": 'sk-"quoted"'}


def with_invalid(request: Request) -> Response | None:
    """Respond with an invalid checkpoint before a valid one."""
    if not request.path.endswith("/one/checkpoints"):
        return None
    return page([INVALID, documents.checkpoint(id="good")], has_more=False)


async def test_once_does_not_send_what_the_service_refuses(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Each run of a cron job would cause the same dead letter. The content is not logged."""
    provider.add_job("one", status="succeeded")
    provider.faults.append(with_invalid)
    async with polling(provider, tmp_path, sends_invalid=False) as setup:
        with capture_logs() as logs:
            assert not await poll_once([setup.poller])
        assert setup.sink.ids == ["good"]
        (line,) = events(logs, "poll_failed")
        assert "checkpoint bad is not sent" in line["error"]
        assert "invalid_schema" in line["error"]
        assert "sk-" not in repr(logs)


async def test_a_poller_that_runs_forever_sends_it_once(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The service writes one dead letter, which has the content."""
    provider.add_job("one")
    provider.faults.append(with_invalid)
    async with polling(provider, tmp_path) as setup:
        for _ in range(3):
            assert (await setup.poller.run_pass()).is_good
        assert setup.sink.ids == ["bad", "good"]


async def test_a_problem_of_one_job_does_not_end_once_before_the_others(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The result is bad, but every job was listed."""
    for number in range(6):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)
    provider.faults.append(times(99, Response(200, b"<html>"), "/job-5/"))
    provider.faults.append(times(99, Response(404), "/job-4/"))
    async with polling(provider, tmp_path, max_jobs_per_pass=2) as setup:
        assert not await poll_once([setup.poller])
        assert len(setup.sink.ids) == 4
