"""Tinker and Fireworks against a local provider with their lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from consumer.pipeline.decode.checkpoint import decode
from consumer.sources.poll.built_checkpoints import step_in_name
from consumer.sources.poll.fireworks import Fireworks
from consumer.sources.poll.tinker import Tinker
from tests.support.polling import polling
from tests.support.provider_server import ProviderServer, Response, once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIREWORKS = "accounts/acme/rlorTrainerJobs"


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Start a provider without jobs."""
    with ProviderServer() as server:
        yield server


async def test_tinker_lists_every_run_and_checkpoint(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The runs have several pages. A quiet run is listed once, and each process sends the same."""
    for number in range(7):
        provider.add_job(f"run-{number}:train:0", status="ended", checkpoints=1)
    provider.add_job("run-7:train:0", checkpoints=2)
    keys = {"kind": "tinker", "base_url": provider.root, "page_size": 3}
    found = []
    for _ in range(2):
        async with polling(provider, tmp_path, **keys) as setup:
            assert (await setup.poller.run_pass()).is_good
            found.append(sorted(setup.sink.records))
            requests = len(provider.requests)
            provider.add_checkpoints("run-7:train:0", 1)
            assert (await setup.poller.run_pass()).is_good
            assert len(provider.requests) - requests == 3 + 1, "three pages, one running run"
            assert len(setup.sink.records) == len(found[-1]) + 2
    assert len(found[0]) == 9 * 2
    assert set(found[0]) < set(found[1]), "the same bytes"
    record = next(it for it in found[0] if it.key == b"tinker://run-7:train:0/weights/000001")
    document = json.loads(record.value)
    assert document == {
        "id": "tinker://run-7:train:0/weights/000001",
        "object": "fine_tuning.job.checkpoint",
        "created_at": document["created_at"],
        "fine_tuning_job_id": "run-7:train:0",
        "fine_tuned_model_checkpoint": "tinker://run-7:train:0/weights/000001",
        "step_number": 1,
        "metrics": {"step": 1},
        "provider": "tinker",
        "base_model": "meta-llama/Llama-3.1-8B",
        "uri": "tinker://run-7:train:0/weights/000001",
        "expires_at": document["created_at"] + 86_400,
    }
    assert decode(record.value, ()).checkpoint.id == document["id"]


async def test_a_run_of_tinker_that_continues_is_listed_again(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """It had no request for a day, so it counted as ended."""
    provider.add_job("run", status="ended", checkpoints=1)
    async with polling(provider, tmp_path, kind="tinker", base_url=provider.root) as setup:
        await setup.poller.run_pass()
        await setup.poller.run_pass()
        assert provider.count("/run/checkpoints") == 1
        provider.jobs["run"]["status"] = "running"
        provider.add_checkpoints("run", 1)
        await setup.poller.run_pass()
        assert len(set(setup.sink.ids)) == 4
        assert len(set(setup.sink.records)) == 4, "what is sent again has the same bytes"


async def test_fireworks_lists_what_can_become_a_model(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Jobs and checkpoints have several pages, the oldest first; others are for resuming."""
    for number in range(5):
        provider.add_job(f"job-{number}", status="ended", checkpoints=number)
    provider.add_job("job-5", checkpoints=9)
    keys = {"kind": "fireworks", "base_url": f"{provider.url}/accounts/acme", "page_size": 4}
    async with polling(provider, tmp_path, **keys) as setup:
        assert (await setup.poller.run_pass()).is_good
        assert len(setup.sink.records) == 1 + 2 + 3 + 4 + 9
        provider.add_checkpoints("job-5", 3)
        provider.end_job("job-5")
        assert (await setup.poller.run_pass()).is_good
        assert len(setup.sink.records) == len(set(setup.sink.ids)) == 22
        name = f"{FIREWORKS}/job-5/checkpoints/step-11-0a1b2c3d"
        record = next(it for it in setup.sink.records if it.key == name.encode())
    document = json.loads(record.value)
    assert document == {
        "id": name,
        "object": "fine_tuning.job.checkpoint",
        "created_at": document["created_at"],
        "fine_tuning_job_id": "job-5",
        "fine_tuned_model_checkpoint": name,
        "step_number": 11,
        "metrics": {"step": 11},
        "provider": "fireworks",
        "base_model": "accounts/fireworks/models/qwen3-8b",
    }
    assert decode(record.value, ()).checkpoint.id == document["id"]


@pytest.mark.parametrize(
    ("kind", "body", "problems"),
    [
        ("tinker", b"{}", 1),
        ("tinker", b'{"checkpoints": [{"tinker_path": "tinker://r/weights/1"}, {}]}', 2),
        ("fireworks", b"[]", 1),
        ("fireworks", b'{"checkpoints": [{"promotable": true}]}', 1),
        (
            "fireworks",
            b'{"rlorTrainerJobCheckpoints": [{"name": "a/b", "promotable": true}]}',
            1,
        ),
    ],
)
async def test_malformed_lists_are_problems(
    provider: ProviderServer, tmp_path: Path, kind: str, body: bytes, problems: int
) -> None:
    """Nothing is sent, and the next pass reads the list again."""
    base = provider.root + ("/v1/accounts/acme" if kind == "fireworks" else "")
    provider.add_job("one", checkpoints=1)
    provider.faults.append(once(Response(200, body), "/one/checkpoints"))
    async with polling(provider, tmp_path, kind=kind, base_url=base) as setup:
        assert (await setup.poller.run_pass()).problems == problems
        assert not setup.sink.records
        assert (await setup.poller.run_pass()).is_good
        assert setup.sink.records


def test_malformed_jobs_are_problems() -> None:
    """The others of the page are read."""
    runs = b'{"training_runs": [{}, {"training_run_id": ".."}, {"training_run_id": "a"}], '
    page = Tinker(10).read_jobs(runs + b'"cursor": {"offset": 0, "limit": 9, "total_count": 3}}')
    assert ([job.id for job in page.jobs], len(page.problems), page.next_after) == (["a"], 2, None)
    jobs = b'{"rlorTrainerJobs": [{}, {"name": "accounts/x/rlorTrainerJobs/b"}]}'
    page = Fireworks(10).read_jobs(jobs)
    assert ([job.id for job in page.jobs], len(page.problems), page.next_after) == (["b"], 1, None)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-100", 100),
        ("step_7-0a1b2c3d", 7),
        ("checkpoint-12", 12),
        ("resume-3-base-45dda197", 3),
        ("run-0123456789abcdef-step-3-abcd1234", 3),
        ("000100", 100),
        ("final", 0),
        ("model-v2", 0),
        ("step-" + "9" * 19, 0),
    ],
)
def test_the_step_is_in_the_name(name: str, step: int) -> None:
    """A user chooses the name, so it may have none."""
    assert step_in_name(name) == step
