"""The callback of the Trainer, the real receiver, a real broker and the service, with crashes.

Each saved checkpoint is one ready event, whatever is killed on its way.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.examples.trainings import (
    GIVES_UP_SOON,
    QUICK,
    VARIABLES,
    Training,
    load_callback,
    program,
)
from tests.support.deployment import Deployment
from tests.support.ingest import TOKEN, start_ingest
from tests.support.verdicts import assert_exactly_once, document
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.ingest import Ingest
    from tests.support.topics import Names

pytestmark = pytest.mark.timeout(300)  # the first run installs transformers

LAST_STEP = 60
PAUSE_STEP = 12
END_SECONDS = 60.0
PATIENT = {**QUICK, "send_seconds": 60, "end_seconds": 60}


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Return a training without checkpoints, in a folder of its own."""
    folder = tmp_path / "output"
    folder.mkdir()
    return Training(load_callback(), folder)


@pytest.fixture
def deployment(cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """Run the service."""
    with Deployment(cluster, names) as deployment:
        deployment.start()
        yield deployment


@contextmanager
def paused_training(
    training: Training, ingest: Ingest, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the Trainer's classes in a process, which waits in the middle, and kill it at the end."""
    url = f"http://127.0.0.1:{ingest.port}"
    pause: dict[str, object] = {"wait_after_step": PAUSE_STEP, "limits": PATIENT}
    command = program(training.folder, url, steps=LAST_STEP, **(pause | options))
    with subprocess.Popen(
        command,
        env={**VARIABLES, "CHECKPOINT_INGEST_TOKEN": TOKEN},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"saved\n"
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a training, which must succeed."""
    assert process.stdout is not None
    assert process.stdout.read() == b"ended\n"
    assert process.wait(END_SECONDS) == 0


def resume(process: subprocess.Popen[bytes]) -> None:
    """Let a paused training continue."""
    assert process.stdin is not None
    process.stdin.close()


def start_again(deployment: Deployment, killed: Ingest) -> Ingest:
    """Start a killed receiver again on its port, and wait until it is ready."""
    ingest = killed._replace(process=deployment.restart(killed.process))
    wait_until(lambda: ingest.is_ready() or ingest.process.has_ended, what="a ready receiver")
    assert not ingest.process.has_ended, ingest.process.tail()
    return ingest


def saved_steps(first: int = 2) -> range:
    """Return the steps that the training saves."""
    return range(first, LAST_STEP + 1, 2)


def test_a_receiver_that_is_killed_while_the_training_runs(
    training: Training, deployment: Deployment, tmp_path: Path
) -> None:
    """The callback sends again what was not acknowledged; nothing is published twice."""
    ingest = start_ingest(deployment, tmp_path)
    with paused_training(training, ingest) as process:
        wait_until(lambda: len(training.spooled) < PAUSE_STEP // 2, what="an acknowledgement")
        ingest.process.kill()
        resume(process)
        wait_until((training.folder / f"checkpoint-{LAST_STEP}").exists, what="the last save")
        ingest = start_again(deployment, ingest)
        before = len(training.spooled)
        wait_until(lambda: len(training.spooled) < before, what="an acknowledgement")
        ingest.process.kill()
        assert training.spooled
        start_again(deployment, ingest)
        finish(process)
    assert not training.spooled
    assert not training.unsent
    ids = training.ids(*saved_steps())
    events = assert_exactly_once(deployment.cluster, deployment.names, ids)
    for event in events:
        checkpoint = document(event)["data"]["checkpoint"]
        step = checkpoint["step_number"]
        assert checkpoint["fine_tuned_model_checkpoint"] == f"{training.folder}/checkpoint-{step}"
        assert checkpoint["metrics"]["train_loss"] == pytest.approx(4 - step / 10)
    assert not deployment.cluster.read(deployment.dead_letter_topic)


def test_a_receiver_that_does_not_come_back(
    training: Training, deployment: Deployment, tmp_path: Path
) -> None:
    """What the receiver has not acknowledged is in the file, and `backfill` sends it."""
    ingest = start_ingest(deployment, tmp_path)
    with paused_training(training, ingest, limits=GIVES_UP_SOON) as process:
        wait_until(lambda: not training.spooled, what="the acknowledgements")
        ingest.process.kill()
        resume(process)
        finish(process)
    unsent = training.ids(*saved_steps(PAUSE_STEP + 2))
    assert [one["id"] for one in training.unsent] == unsent
    file = str(training.folder / "checkpoint-ready.jsonl")
    filled = deployment.run("backfill", file, "--execute")
    assert filled.exit_code == 0, filled
    assert filled.json_lines[-1]["sent"] == len(unsent)
    ids = training.ids(*saved_steps())
    assert_exactly_once(deployment.cluster, deployment.names, ids)


def test_a_training_and_a_receiver_that_are_killed(
    training: Training, deployment: Deployment, tmp_path: Path
) -> None:
    """The next start of the training sends what the killed one has saved."""
    ingest = start_ingest(deployment, tmp_path)
    ingest.process.kill()
    with paused_training(training, ingest):
        assert training.spooled == sorted(training.ids(*range(2, PAUSE_STEP + 1, 2)))
    start_again(deployment, ingest)
    with paused_training(
        training, ingest, first_step=PAUSE_STEP + 1, wait_after_step=14
    ) as process:
        resume(process)
        finish(process)
    assert not training.spooled
    assert not training.unsent
    ids = training.ids(*saved_steps())
    assert_exactly_once(deployment.cluster, deployment.names, ids)
