"""`poll` on a real broker: every checkpoint arrives, whatever happens to it."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from dev.free_ports import free_ports
from dev.kafka import LocalKafka
from tests.integration.crashing_poller import PollStep, poll_crashing_at
from tests.support.cluster import Cluster
from tests.support.command_line import run_command
from tests.support.deployment import Deployment
from tests.support.http_client import Observed
from tests.support.provider_server import KEY, ProviderServer, Response, times
from tests.support.verdicts import assert_exactly_once, document
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.command_line import Finished
    from tests.support.topics import Names

POLL = ("consumer", "poll", "--config")
MIB = 1024 * 1024
JOBS = 10_000
CRASHES = [
    (PollStep.JOBS_READ, 1, 0),
    (PollStep.JOBS_READ, 2, 0),
    (PollStep.PAGE_READ, 1, 0),
    (PollStep.PAGE_READ, 5, 0),
    (PollStep.SENDING, 1, 0),
    (PollStep.SENDING, 3, 2),
    (PollStep.SENDING, 4, 10),
    (PollStep.ACKNOWLEDGED, 1, 0),
    (PollStep.ACKNOWLEDGED, 6, 0),
    (PollStep.JOB_DONE, 1, 0),
    (PollStep.JOB_DONE, 4, 0),
]


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Start a provider without jobs."""
    with ProviderServer() as server:
        yield server


def write_accounts(folder: Path, **accounts: ProviderServer) -> str:
    """Write the file of accounts and the key; return its path."""
    (folder / "key").write_text(KEY)
    text = "".join(
        f'[[accounts]]\nname = "{name}"\nkind = "openai"\nkey_file = "key"\n'
        f'base_url = "{provider.url}"\ninterval_seconds = 0.1\npage_size = 5\nmax_attempts = 2\n'
        for name, provider in accounts.items()
    )
    (folder / "accounts.toml").write_text(text)
    return str(folder / "accounts.toml")


@pytest.mark.timeout(180)
def test_killed_at_any_step_nothing_is_lost(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """Each process dies at another step. The last one ends; the service publishes each id once."""
    path = write_accounts(tmp_path, acme=provider)
    with Deployment(cluster, names) as deployment:
        deployment.start()
        for round_number, (step, occurrence, delay_ms) in enumerate(CRASHES):
            for status in ("running", "succeeded"):
                provider.add_job(f"job-{round_number}-{status}", status=status, checkpoints=13)
            provider.add_checkpoints("job-0-running", 3)
            command = poll_crashing_at(step, occurrence, "--config", path, delay_ms=delay_ms)
            crashing = deployment.start(command=command)
            assert crashing.wait() == -signal.SIGKILL, crashing.tail()
        finished = deployment.run("poll", "--once", "--config", path)
        assert finished.exit_code == 0, finished.stderr
        assert_exactly_once(cluster, names, provider.ids)
        sent = cluster.read(deployment.input_topic)
        assert len(sent) > len(provider.ids), "the processes sent nothing before they died"
        for record in sent:
            assert record.value == provider.raw((record.key or b"").decode())
        assert not cluster.read(deployment.dead_letter_topic)


def test_checkpoints_of_other_providers_are_published_once(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """Two processes send the same bytes, so the service finds no conflict."""
    provider.add_job("job-1", checkpoints=3)
    (tmp_path / "key").write_text(KEY)
    bases = {"tinker": provider.root, "fireworks": f"{provider.url}/accounts/acme"}
    (tmp_path / "accounts.toml").write_text(
        "".join(
            f'[[accounts]]\nname = "{kind}"\nkind = "{kind}"\nkey_file = "key"\n'
            f'base_url = "{base}"\n'
            for kind, base in bases.items()
        )
    )
    fireworks = "accounts/acme/rlorTrainerJobs/job-1/checkpoints/step-{}-0a1b2c3d"
    ids = [
        id_.format(step)
        for step in range(3)
        for id_ in (
            "tinker://job-1/weights/{:06}",
            "tinker://job-1/sampler_weights/{:06}",
            fireworks,
        )
    ]
    with Deployment(cluster, names) as deployment:
        deployment.start()
        for _ in range(2):
            finished = deployment.run("poll", "--once", "--config", f"{tmp_path}/accounts.toml")
            assert finished.exit_code == 0, finished.stderr
        assert_exactly_once(cluster, names, ids)
        assert len(cluster.read(deployment.input_topic)) == 2 * len(ids)
        assert not cluster.read(deployment.dead_letter_topic)
        models = [
            document(record)["data"]["model"] for record in cluster.read(deployment.ready_topic)
        ]
        assert sorted({(one["provider"], one["base_model"]) for one in models}) == [
            ("fireworks", "accounts/fireworks/models/qwen3-8b"),
            ("tinker", "meta-llama/Llama-3.1-8B"),
        ]


def test_killed_at_random_while_checkpoints_arrive(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """Jobs grow and end while the process is killed and started again."""
    path = write_accounts(tmp_path, acme=provider)
    chance = random.Random(7)  # noqa: S311 - the same choices each time
    with Deployment(cluster, names) as deployment:
        deployment.start()
        for round_number in range(5):
            provider.add_job(f"job-{round_number}", checkpoints=20)
            poller = deployment.start(command=[*POLL, path])
            poller.wait_for_log("poll_pass")
            for _ in range(chance.randrange(3, 12)):
                provider.add_checkpoints(chance.choice(list(provider.jobs)), chance.randrange(8))
                provider.wait_for_request()
            poller.kill()
            provider.end_job(f"job-{round_number}")
        for job in provider.jobs:
            provider.add_checkpoints(job, 1)
            provider.end_job(job)
        finished = deployment.run("poll", "--once", "--config", path)
        assert finished.exit_code == 0, finished.stderr
        assert_exactly_once(cluster, names, provider.ids)


def test_a_broken_account_does_not_stop_the_other(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """The metrics tell them apart; `--once` ends with 1; SIGTERM ends the process in time."""
    provider.add_job("one", checkpoints=12)
    with ProviderServer() as broken, Deployment(cluster, names) as deployment:
        broken.faults.append(times(1_000_000, Response(500)))
        path = write_accounts(tmp_path, good=provider, bad=broken)
        finished = deployment.run("poll", "--once", "--config", path)
        assert finished.exit_code == 1
        lines = [line for line in finished.json_lines if line["event"] == "poll_pass"]
        assert {line["account"]: line["problems"] > 0 for line in lines} == {
            "good": False,
            "bad": True,
        }
        port = free_ports(1)[0]
        poller = Observed(deployment.start(command=[*POLL, path], HTTP_PORT=port), port)
        poller.service.wait_for_log("poll_pass", account="good")
        new = provider.add_checkpoints("one", 1)
        wait_until(lambda: poller.metric("poll_checkpoints_sent_total", account="good") == 13)
        assert (poller.metric("poll_last_success_timestamp_seconds", account="good") or 0) > 0
        assert poller.metric("poll_last_success_timestamp_seconds", account="bad") == 0
        assert (poller.metric("poll_requests_total", account="bad", code="500") or 0) > 0
        assert poller.status("/livez") == 200
        begun = time.monotonic()
        poller.service.signal(signal.SIGTERM)
        assert poller.service.wait() == 0, poller.service.tail()
        assert time.monotonic() - begun < 6
        assert poller.service.logged("poll_stopped")
        keys = {(record.key or b"").decode() for record in cluster.read(deployment.input_topic)}
        assert keys == set(provider.ids)
        assert new[0] in keys
        assert KEY not in finished.stdout + finished.stderr + poller.service.tail()


@pytest.mark.timeout(240)
def test_a_broker_that_is_away_and_back(
    local_brokers: None,  # noqa: ARG001 - for its effect
    names: Names,
    provider: ProviderServer,
    tmp_path: Path,
) -> None:
    """A pass without acknowledgement is bad; a later pass sends everything with a new producer."""
    provider.add_job("one", checkpoints=12)
    path = write_accounts(tmp_path, acme=provider)
    with (
        LocalKafka() as kafka,
        Deployment(Cluster(kafka.bootstrap_servers), names, create_topics=False) as deployment,
    ):
        poller = deployment.start(command=[*POLL, path])
        poller.wait_for_log("poll_pass", checkpoints_sent=12)
        kafka.kill(1)
        provider.add_checkpoints("one", 7)
        poller.wait_for_log("poll_failed", 60)
        provider.add_checkpoints("one", 7)
        kafka.restart(1)
        lines = len(poller.lines)
        poller.wait_for_log("poll_pass", 60, after=lines, problems=0)
        keys = {
            (record.key or b"").decode()
            for record in deployment.cluster.read(deployment.input_topic)
        }
        assert keys == set(provider.ids)
        assert poller.terminate() == 0


def test_ten_thousand_jobs_have_bounds(
    cluster: Cluster, names: Names, provider: ProviderServer, tmp_path: Path
) -> None:
    """A first run on a large account: requests, memory and each pass are bounded."""
    for number in range(JOBS):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)
    path = write_accounts(tmp_path, acme=provider)
    text = (tmp_path / "accounts.toml").read_text().replace("page_size = 5", "page_size = 100")
    (tmp_path / "accounts.toml").write_text(text + "max_jobs_per_pass = 1000\n")
    with Deployment(cluster, names, create_topics=False) as deployment:
        poller = deployment.start(command=[*POLL, path])
        poller.wait_for_log("poll_pass", 90, jobs_waiting=0)
        idle = poller.wait_for_log("poll_pass", jobs_waiting=0, jobs_listed=0)
        peak = poller.peak_memory_bytes
        poller.kill()
        passes = poller.logged("poll_pass")[:10]
        requests = sum(line["requests"] for line in passes)
        seconds = sum(line["duration_ms"] for line in passes) / 1000
        print(f"{requests} requests, {peak / MIB:.0f} MiB, {seconds:.1f} s")  # noqa: T201 - figures
        assert idle["requests"] == 1
        assert [line["jobs_waiting"] for line in passes] == list(range(9000, -1, -1000))
        assert all(line["requests"] <= 1100 for line in passes)
        assert requests <= JOBS + JOBS // 100 + len(passes)
        assert peak < 150 * MIB
        records = cluster.read(deployment.input_topic)
        assert sorted((record.key or b"").decode() for record in records) == sorted(provider.ids)


def test_a_missing_topic_and_a_wrong_file_are_named(cluster: Cluster, tmp_path: Path) -> None:
    """One line says what to do; nothing is created."""
    (tmp_path / "key").write_text(KEY)
    path = tmp_path / "accounts.toml"
    path.write_text('[[accounts]]\nname = "acme"\nkind = "openai"\nkey_file = "key"\n')

    def poll(*options: str) -> Finished:
        servers = cluster.bootstrap_servers
        arguments = ("poll", *options, "--config", str(path))
        return run_command(*arguments, BOOTSTRAP_SERVERS=servers, INPUT_TOPICS="no-such-topic")

    finished = poll("--once")
    assert finished.exit_code == 1
    assert "topic no-such-topic does not exist" in finished.complaint
    assert "no-such-topic" not in cluster.topics()
    path.write_text(path.read_text() + "intervall_seconds = 1\n")
    finished = poll()
    assert finished.exit_code == 2
    assert "account acme: key intervall_seconds: is not known" in finished.complaint
