"""One account against a local provider: what arrives, and what it costs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from consumer.sources.poll.poller import poll_once
from tests.support.polling import MAX_RECORD_BYTES, polling
from tests.support.provider_server import (
    KEY,
    ProviderServer,
    Request,
    Response,
    once,
    times,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Start a provider without jobs."""
    with ProviderServer() as server:
        yield server


async def test_every_page_of_every_job_arrives_with_its_bytes(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """A provider that ignores `limit` has pages of 20 jobs and 10 checkpoints."""
    provider = ProviderServer(honours_limit=False)
    for number in range(25):
        provider.add_job(f"job-{number}", checkpoints=number)
    with provider:
        async with polling(provider, tmp_path) as setup:
            report = await setup.poller.run_pass()
            assert report.is_good
            assert sorted(setup.sink.ids) == sorted(provider.ids)
            assert len(provider.ids) == report.checkpoints_sent == report.checkpoints_seen == 300
            for record in setup.sink.records:
                assert record.value == provider.raw(record.key.decode())
            assert report.requests == len(provider.requests)
            assert setup.metric("checkpoints_sent_total") == 300
            assert setup.metric("requests_total", code="200") == report.requests
            assert (setup.metric("last_success_timestamp_seconds") or 0) > 0


async def test_a_second_pass_sends_only_what_is_new(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """It reads one page of a job, even if the job has many."""
    provider.add_job("long", checkpoints=45)
    async with polling(provider, tmp_path, page_size=10) as setup:
        await setup.poller.run_pass()
        assert provider.count("/long/checkpoints") == 5
        new = provider.add_checkpoints("long", 3)
        await setup.poller.run_pass()
        assert provider.count("/long/checkpoints") == 6
        assert sorted(setup.sink.ids[45:]) == sorted(new)
        new = provider.add_checkpoints("long", 25)
        await setup.poller.run_pass()
        assert sorted(setup.sink.ids[48:]) == sorted(new)


async def test_a_failure_between_two_pages_loses_no_older_page(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """A known checkpoint ends the listing only if the last listing reached its end."""
    provider.add_job("one", checkpoints=15)
    async with polling(provider, tmp_path, page_size=10, max_attempts=1) as setup:
        await setup.poller.run_pass()
        provider.add_checkpoints("one", 20)
        seen = []

        def fail_second_page(request: Request) -> Response | None:
            seen.append(request)
            is_second = request.path.endswith("/checkpoints") and "after" in request.query
            return Response(500) if is_second else None

        provider.faults.append(fail_second_page)
        assert not (await setup.poller.run_pass()).is_good
        assert len(setup.sink.ids) == 25
        provider.faults.clear()
        assert (await setup.poller.run_pass()).is_good
        assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_another_order_is_read_to_its_end(provider: ProviderServer, tmp_path: Path) -> None:
    """A provider that lists oldest first has its new checkpoints behind the known ones."""
    provider.is_oldest_first = True
    provider.add_job("one", checkpoints=25)
    async with polling(provider, tmp_path, page_size=10) as setup:
        await setup.poller.run_pass()
        provider.add_checkpoints("one", 12)
        await setup.poller.run_pass()
        assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_the_last_listing_of_a_job_reads_to_its_end(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """A checkpoint that became visible late, behind known ones, arrives at the latest then."""
    provider.add_job("one", checkpoints=25)
    provider.hidden.add("ftckpt_one_00002")
    async with polling(provider, tmp_path, page_size=10) as setup:
        await setup.poller.run_pass()
        provider.hidden.clear()
        provider.end_job("one")
        await setup.poller.run_pass()
        assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_checkpoints_that_arrive_while_it_pages(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """They arrive at the latest in the next pass, and do not shift the pages."""
    provider.add_job("one", checkpoints=35)
    provider.faults.append(_on_page(provider, "one"))
    async with polling(provider, tmp_path, page_size=10) as setup:
        await setup.poller.run_pass()
        provider.faults.clear()
        await setup.poller.run_pass()
        assert sorted(setup.sink.ids) == sorted(provider.ids)
        assert len(provider.ids) > 35


async def test_a_job_that_ends_between_its_pages_is_listed_once_more(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Its last checkpoint is made after the listing of the jobs, and still arrives."""
    provider.add_job("one", checkpoints=5)

    def end(request: Request) -> Response | None:
        if "after" in request.query and provider.jobs["one"]["status"] == "running":
            provider.add_checkpoints("one", 1)
            provider.end_job("one")
        return None

    provider.faults.append(end)
    async with polling(provider, tmp_path, page_size=3) as setup:
        await setup.poller.run_pass()
        assert len(setup.sink.ids) == 5
        await setup.poller.run_pass()
        assert sorted(setup.sink.ids) == sorted(provider.ids)
        asked = provider.count("/one/checkpoints")
        await setup.poller.run_pass()
        assert provider.count("/one/checkpoints") == asked, "an ended job is done"


async def test_a_new_process_knows_nothing_and_sends_everything(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Also ended jobs: there is no state outside the memory."""
    provider.add_job("ended", status="succeeded", checkpoints=3)
    for _ in range(2):
        async with polling(provider, tmp_path) as setup:
            await setup.poller.run_pass()
            assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_a_page_without_acknowledgement_is_sent_again(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """A failure of Kafka ends the pass, and nothing of it counts as sent."""
    provider.add_job("one", status="failed", checkpoints=5)
    async with polling(provider, tmp_path) as setup:
        setup.sink.failures = 1
        report = await setup.poller.run_pass()
        assert not report.is_good
        assert report.checkpoints_sent == 0
        assert setup.metric("last_success_timestamp_seconds") == 0
        assert (await setup.poller.run_pass()).is_good
        assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_a_rate_limit_is_followed(provider: ProviderServer, tmp_path: Path) -> None:
    """No request of the account is sent before the time that `Retry-After` names."""
    provider.add_job("one", checkpoints=1)
    provider.faults.append(once(Response(429, headers={"Retry-After": "1"})))
    async with polling(provider, tmp_path) as setup:
        begun = asyncio.get_running_loop().time()
        assert (await setup.poller.run_pass()).is_good
        assert asyncio.get_running_loop().time() - begun >= 1
        assert len(setup.sink.ids) == 1
        assert setup.metric("requests_total", code="429") == 1


async def test_a_long_rate_limit_ends_the_pass_and_is_remembered(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The next pass sends no request either."""
    provider.add_job("one", checkpoints=1)
    provider.faults.append(once(Response(429, headers={"Retry-After": "3600"})))
    async with polling(provider, tmp_path) as setup:
        for _ in range(2):
            with capture_logs() as logs:
                assert not (await setup.poller.run_pass()).is_good
            assert "asks to wait" in logs[0]["error"]
        assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "response",
    [Response(500), Response(503), Response(200, b'{"data":[', is_cut=True), Response(408)],
)
async def test_a_passing_failure_is_retried(
    provider: ProviderServer, tmp_path: Path, response: Response
) -> None:
    """5xx, a broken connection, and 408."""
    provider.add_job("one", checkpoints=2)
    provider.faults += [once(response, "/jobs"), once(response, "/checkpoints")]
    async with polling(provider, tmp_path) as setup:
        assert (await setup.poller.run_pass()).is_good
        assert sorted(setup.sink.ids) == sorted(provider.ids)


async def test_a_slow_response_has_a_limit(provider: ProviderServer, tmp_path: Path) -> None:
    """It is tried again."""
    provider.add_job("one", checkpoints=2)
    provider.faults.append(once(Response(delay_seconds=1.5)))
    async with polling(provider, tmp_path, request_timeout_seconds=0.3) as setup:
        assert (await setup.poller.run_pass()).is_good
        assert setup.metric("requests_total", code="none") == 1


async def test_a_provider_that_is_away_costs_a_bounded_number_of_requests(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The pass ends after a few jobs, and does not try each of them."""
    for number in range(50):
        provider.add_job(f"job-{number}", checkpoints=1)
    provider.faults.append(times(10_000, Response(500), "/checkpoints"))
    async with polling(provider, tmp_path, max_attempts=1) as setup:
        report = await setup.poller.run_pass()
        assert not report.is_good
        assert report.requests < 15


MALFORMED = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"data":{}}',
    b'{"data":[1],"has_more":"no"}',
    b'{"data":[],"has_more":true}',
    b"<html>busy</html>",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"data":[{"object":"x"}]}',
    b'{"data":[{"id":7}]}',
    b'{"data":[{"id":""}]}',
    b'{"data":[{"id":"' + b"x" * 40_000 + b'"}]}',
]


@pytest.mark.parametrize("body", MALFORMED)
async def test_a_malformed_page_stops_only_its_job(
    provider: ProviderServer, tmp_path: Path, body: bytes
) -> None:
    """The error names the job; the other jobs arrive; the next pass reads the job again."""
    for name in ("a", "bad", "c"):
        provider.add_job(name, status="succeeded", checkpoints=3)
    provider.faults.append(once(Response(200, body), "/bad/"))
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            report = await setup.poller.run_pass()
        assert report.problems == 1
        (failed,) = [line for line in logs if line["event"] == "poll_failed"]
        assert failed["account"] == "acme"
        assert failed["job"] == "bad"
        assert "malformed" in failed["error"] or "no usable id" in failed["error"]
        assert len(setup.sink.ids) == 6
        assert (await setup.poller.run_pass()).is_good
        assert sorted(setup.sink.ids) == sorted(provider.ids)


@pytest.mark.parametrize("body", MALFORMED)
async def test_a_malformed_page_of_jobs_is_an_error(
    provider: ProviderServer, tmp_path: Path, body: bytes
) -> None:
    """The pass is not good, and known jobs are still listed."""
    provider.add_job("one", checkpoints=1)
    async with polling(provider, tmp_path) as setup:
        await setup.poller.run_pass()
        new = provider.add_checkpoints("one", 1)
        provider.faults.append(lambda r: Response(200, body) if r.path.endswith("jobs") else None)
        report = await setup.poller.run_pass()
        assert not report.is_good
        if b'"id"' not in body and b'"object"' not in body:
            assert setup.sink.ids[1:] == new


async def test_good_elements_of_a_page_with_a_bad_one_arrive(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The bad one is a problem in each pass, until it is corrected."""
    provider.add_job("one", status="succeeded")
    body = b'{"data":[{"id":"a","x":1},{"id":null},{"id":"b"}],"has_more":false}'
    provider.faults.append(times(2, Response(200, body), "/checkpoints"))
    async with polling(provider, tmp_path) as setup:
        assert not (await setup.poller.run_pass()).is_good
        assert setup.sink.records == [(b"a", b'{"id":"a","x":1}'), (b"b", b'{"id":"b"}')]
        assert not (await setup.poller.run_pass()).is_good
        assert len(setup.sink.records) == 2
        assert (await setup.poller.run_pass()).is_good


async def test_a_provider_that_ignores_the_cursor_is_an_error(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The listing does not go on forever."""
    provider.add_job("one")
    body = b'{"data":[{"id":"a"},{"id":"b"}],"has_more":true}'
    provider.faults.append(times(100, Response(200, body), "/checkpoints"))
    async with polling(provider, tmp_path) as setup:
        report = await setup.poller.run_pass()
        assert not report.is_good
        assert setup.sink.ids == ["a", "b"]
        assert report.requests == 3


async def test_a_response_has_a_size_limit(provider: ProviderServer, tmp_path: Path) -> None:
    """A larger one is an error of its job."""
    provider.add_job("large", checkpoints=50)
    provider.add_job("small", checkpoints=1)
    async with polling(provider, tmp_path, max_response_bytes=4096) as setup:
        with capture_logs() as logs:
            report = await setup.poller.run_pass()
        assert report.problems == 1
        assert "max_response_bytes" in logs[0]["error"]
        assert setup.sink.ids == ["ftckpt_small_00000"]


async def test_a_checkpoint_that_does_not_fit_the_topic(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """It is an error, and the others arrive."""
    provider.add_job("one")
    large = json.dumps({"id": "large", "x": "x" * MAX_RECORD_BYTES}).encode()
    body = b'{"data":[' + large + b',{"id":"small"}]}'
    provider.faults.append(once(Response(200, body), "/checkpoints"))
    async with polling(provider, tmp_path) as setup:
        assert (await setup.poller.run_pass()).problems == 1
        assert setup.sink.ids == ["small"]


async def test_a_deleted_job_is_a_problem_once(provider: ProviderServer, tmp_path: Path) -> None:
    """It was deleted after the listing of the jobs."""
    for name in ("old", "gone", "new"):
        provider.add_job(name, status="succeeded", checkpoints=1)
    provider.faults.append(times(99, Response(404), "/gone/"))
    async with polling(provider, tmp_path) as setup:
        assert not (await setup.poller.run_pass()).is_good
        del provider.jobs["gone"]
        assert (await setup.poller.run_pass()).is_good
        assert provider.count("/gone/checkpoints") == 1


@pytest.mark.parametrize("status", [401, 403, 302])
async def test_refused_credentials_end_the_pass_without_showing_the_key(
    provider: ProviderServer, tmp_path: Path, status: int
) -> None:
    """No redirect is followed, and neither the key nor the body is logged."""
    (tmp_path / "key").write_text("sk-wrong-secret")
    provider.add_job("one", checkpoints=1)
    if status != 401:
        elsewhere = {"Location": f"{provider.url}/elsewhere?key=sk-wrong-secret"}
        provider.faults.append(times(99, Response(status, b"sk-wrong-secret", elsewhere)))
    async with polling(provider, tmp_path) as setup:
        with capture_logs() as logs:
            assert not (await setup.poller.run_pass()).is_good
        assert len(provider.requests) == 1
        assert f"status {status}" in logs[0]["error"]
        assert "sk-wrong" not in repr(logs)
        if status != 302:
            assert str(tmp_path / "key") in logs[0]["error"]


async def test_a_rotated_key_is_used_by_the_next_pass(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The files are read again at the start of each pass."""
    provider.add_job("one", checkpoints=1)
    async with polling(provider, tmp_path) as setup:
        assert (await setup.poller.run_pass()).is_good
        provider.key = "sk-second"
        assert not (await setup.poller.run_pass()).is_good
        (tmp_path / "key").write_text("sk-second\n")
        assert (await setup.poller.run_pass()).is_good


async def test_headers_and_parameters_of_azure_and_gateways(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The key is in `api-key`; other headers and parameters are added to each request."""
    (tmp_path / "virtual").write_text("v-1")
    provider.add_job("one", checkpoints=1)
    async with polling(
        provider,
        tmp_path,
        auth="api-key",
        headers={"X-Team": "research"},
        header_files={"x-portkey-virtual-key": str(tmp_path / "virtual")},
        query={"api-version": "preview"},
    ) as setup:
        assert (await setup.poller.run_pass()).is_good
    for request in provider.requests:
        assert request.headers["api-key"] == KEY
        assert "authorization" not in request.headers
        assert request.headers["x-team"] == "research"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["x-portkey-virtual-key"] == "v-1"
        assert request.query["api-version"] == "preview"


async def test_together_gets_ids_and_the_same_bytes_each_time(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The id is made from job, step and type; every process builds the same object."""
    provider.add_job("ft-1", checkpoints=2)
    provider.add_job("ft-2", status="completed", checkpoints=1)
    found = []
    for _ in range(2):
        async with polling(provider, tmp_path, kind="together") as setup:
            assert (await setup.poller.run_pass()).is_good
            found.append(sorted(setup.sink.records))
    assert found[0] == found[1]
    assert [record.key.decode() for record in found[0]] == [
        "ft-1:0:Intermediate",
        "ft-1:1:Intermediate",
        "ft-2:0:Intermediate",
    ]
    assert json.loads(found[0][1].value) == {
        "id": "ft-1:1:Intermediate",
        "object": "fine_tuning.job.checkpoint",
        "created_at": 1_767_225_601,
        "fine_tuning_job_id": "ft-1",
        "fine_tuned_model_checkpoint": "ft-1:1",
        "step_number": 1,
        "metrics": {"step": 1},
        "provider": "together",
        "base_model": "gpt-4o-mini-2024-07-18",
        "uri": "s3://bucket/1",
    }


async def test_a_signed_path_of_together_is_left_out(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Its bytes would differ in each listing, and the service would see a conflict."""
    provider.add_job("ft-1")
    element = {"step": 7, "created_at": 1_767_225_600, "path": "https://host/7?signature=1"}
    provider.faults.append(
        once(Response(200, json.dumps({"data": [element, {"step": 8}]}).encode()), "/ft-1/")
    )
    async with polling(provider, tmp_path, kind="together") as setup:
        assert (await setup.poller.run_pass()).problems == 1, "the second has no time"
        (record,) = setup.sink.records
        assert "uri" not in json.loads(record.value)
        assert record.key == b"ft-1:7:checkpoint"


async def test_a_first_run_is_bounded_and_goes_on(provider: ProviderServer, tmp_path: Path) -> None:
    """Each pass lists a bounded number of jobs; `--once` runs passes until none waits."""
    for number in range(30):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)
    async with polling(provider, tmp_path, max_jobs_per_pass=8) as setup:
        report = await setup.poller.run_pass()
        assert (report.jobs_listed, report.jobs_waiting) == (8, 22)
        assert await poll_once([setup.poller])
        assert sorted(setup.sink.ids) == sorted(provider.ids)
        assert len(setup.sink.ids) == 30, "nothing is sent twice"
        assert provider.count("/checkpoints") == 30


async def test_two_accounts_of_which_one_is_broken(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The result is bad, and everything of the other account arrives."""
    provider.add_job("one", checkpoints=3)
    with ProviderServer() as broken:
        broken.faults.append(times(999, Response(500)))
        async with (
            polling(broken, tmp_path, max_attempts=1) as bad,
            polling(provider, tmp_path) as good,
        ):
            assert not await poll_once([bad.poller, good.poller])
            assert sorted(good.sink.ids) == sorted(provider.ids)


async def test_the_number_of_requests_at_a_time_is_limited(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """An account has `max_concurrency` requests on the way, and uses them."""
    for number in range(12):
        provider.add_job(f"job-{number}", checkpoints=1)
    running: list[int] = [0]
    most: list[int] = [0]

    async with polling(provider, tmp_path, max_concurrency=3) as setup:
        get = setup.poller._client.get  # noqa: SLF001 - counted here

        async def counted(path: str, query: dict[str, str]) -> bytes:
            running[0] += 1
            most[0] = max(most[0], running[0])
            try:
                return await get(path, query)
            finally:
                running[0] -= 1

        setup.poller._client.get = counted  # type: ignore[method-assign] # noqa: SLF001 - see above
        assert (await setup.poller.run_pass()).is_good
    assert most[0] == 3


def _on_page(provider: ProviderServer, job: str) -> Any:  # noqa: ANN401 - a fault
    """Return a fault that adds checkpoints whenever a page is read."""

    def add(request: Request) -> Response | None:
        if request.path.endswith("/checkpoints"):
            provider.add_checkpoints(job, 3)
        return None

    return add
