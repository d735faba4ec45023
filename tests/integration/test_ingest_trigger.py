"""The end of a job, reported by a webhook, publishes its checkpoints, whatever happens."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import Deployment
from tests.support.http_client import Observed
from tests.support.ingest import Ingest, start_ingest
from tests.support.provider_server import KEY, ProviderServer, Request, Response, times
from tests.support.records import checkpoint
from tests.support.standard_webhooks import signed_headers
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SECRET = b"0123456789abcdef0123456789abcdef"
WEBHOOK = """
[webhooks.openai]
kind = "standard-webhooks"
secret_files = ["{folder}/secret"]
account = "acme"
"""
ACCOUNTS = """
[[accounts]]
name = "acme"
kind = "openai"
key_file = "key"
base_url = "{url}"
page_size = 10
interval_seconds = 0.5
max_attempts = 2
request_timeout_seconds = {timeout_seconds}
"""
SLOWEST_ANSWER_SECONDS = 2.0
SLOWEST_END_SECONDS = 5.0


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Start a provider without jobs."""
    with ProviderServer() as server:
        yield server


def start(
    deployment: Deployment,
    folder: Path,
    provider: ProviderServer,
    *,
    limits: str = "",
    timeout_seconds: int = 30,
) -> Ingest:
    """Start a receiver with one account."""
    (folder / "key").write_text(KEY)
    (folder / "secret").write_bytes(b"whsec_" + base64.b64encode(SECRET))
    accounts = folder / "accounts.toml"
    accounts.write_text(ACCOUNTS.format(url=provider.url, timeout_seconds=timeout_seconds))
    more = WEBHOOK.format(folder=folder)
    return start_ingest(deployment, folder, more, limits=limits, accounts=str(accounts))


def send_event(ingest: Ingest, job: str) -> None:
    """Report the end of a job. The receiver must accept it quickly."""
    event = {"object": "event", "type": "fine_tuning.job.succeeded", "data": {"id": job}}
    body = json.dumps(event).encode()
    headers = signed_headers(body, SECRET)
    begun = time.monotonic()
    reply = ingest.post(body, path="/v1/webhooks/openai", token=None, headers=headers)
    assert (reply.status, reply.json) == (202, {"accepted": 0, "event": "job_ended"})
    assert time.monotonic() - begun < SLOWEST_ANSWER_SECONDS


def count(ingest: Ingest, result: str, process: ServiceProcess | None = None) -> float:
    """Return how many triggered listings had a result."""
    observed = Observed(process or ingest.process, ingest.probes)
    name = "ingest_triggered_listings_total"
    return observed.metric(name, account="acme", result=result) or 0


def test_the_event_of_a_job_publishes_every_checkpoint_once(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """Also if the provider limits the rate first; a poller that runs too causes no second event."""
    provider.add_job("job-1", status="succeeded", checkpoints=25)
    provider.add_job("job-2", status="failed", checkpoints=3)
    provider.faults.append(times(2, Response(429, headers={"Retry-After": "1"})))
    with Deployment(cluster, names) as deployment:
        deployment.start()
        ingest = start(deployment, tmp_path, provider)
        for job in ("job-1", "job-2", "job-1"):
            send_event(ingest, job)
        wait_until(lambda: count(ingest, "complete") == 2, what="two listings")
        assert count(ingest, "merged") == 1
        finished = deployment.run("poll", "--once", "--config", str(tmp_path / "accounts.toml"))
        assert finished.exit_code == 0, finished.stderr
        assert_exactly_once(cluster, names, provider.ids)
        for record in cluster.read(deployment.input_topic):
            assert record.value == provider.raw((record.key or b"").decode())
        assert not cluster.read(deployment.dead_letter_topic)
        observed = Observed(ingest.process, ingest.probes)
        assert observed.metric("poll_requests_total", account="acme", code="429") == 2
        assert observed.metric("ingest_waiting_listings", account="acme") == 2
        assert observed.metric("poll_last_success_timestamp_seconds", account="acme") is None
        assert KEY not in ingest.process.tail()
        assert ingest.process.terminate() == 0


def test_killed_in_a_listing_and_the_event_is_sent_again(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """The process keeps nothing. The next one lists the whole job."""
    provider.add_job("job-1", status="succeeded", checkpoints=35)
    reached = threading.Event()

    def hang(request: Request) -> Response | None:
        if "after" not in request.query or reached.is_set():
            return None
        reached.set()
        return Response(delay_seconds=5)

    provider.faults.append(hang)
    with Deployment(cluster, names) as deployment:
        deployment.start()
        ingest = start(deployment, tmp_path, provider)
        send_event(ingest, "job-1")
        assert reached.wait(20)
        assert len(cluster.read(deployment.input_topic)) == 10, "the first page"
        ingest.process.kill()
        process = deployment.restart(ingest.process)
        wait_until(ingest.is_ready, what="a ready receiver")
        send_event(ingest, "job-1")
        process.wait_for_log("trigger_listed", checkpoints_sent=35)
        assert_exactly_once(cluster, names, provider.ids)
        assert len(cluster.read(deployment.input_topic)) == 45
        assert process.terminate() == 0


def test_a_provider_that_hangs_delays_nothing_else(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """Requests are answered, the other jobs are listed, and SIGTERM ends the process quickly."""
    for number in range(6):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)
    provider.faults.append(times(1, Response(delay_seconds=60), "/job-0/"))
    with Deployment(cluster, names, create_topics=False) as deployment:
        ingest = start(
            deployment, tmp_path, provider, limits="triggered_jobs = 3", timeout_seconds=50
        )
        begun = time.monotonic()
        send_event(ingest, "job-0")
        wait_until(lambda: provider.count("/job-0/checkpoints") == 1)
        for number in range(1, 6):
            send_event(ingest, f"job-{number}")
            assert ingest.post(checkpoint(f"ftckpt_direct_{number}")).status == 202
        assert count(ingest, "dropped") == 3
        dropped = [line["job"] for line in ingest.process.logged("trigger_dropped")]
        assert dropped == ["job-0", "job-1", "job-2"]
        assert time.monotonic() - begun < 2 * SLOWEST_ANSWER_SECONDS
        for number in (3, 4, 5):
            ingest.process.wait_for_log("trigger_listed", job=f"job-{number}")
        keys = {(record.key or b"").decode() for record in cluster.read(deployment.input_topic)}
        assert {f"ftckpt_job-{number}_00000" for number in (3, 4, 5)} <= keys
        assert "ftckpt_job-0_00000" not in keys, "the provider does not hang"
        begun = time.monotonic()
        assert ingest.process.terminate() == 0
        assert time.monotonic() - begun < SLOWEST_END_SECONDS
        assert ingest.process.logged("stopped")
