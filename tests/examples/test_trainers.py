"""The callback and the sender of examples/trainers: what arrives, and when nothing can arrive."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.examples.trainings import (
    FILE,
    GIVES_UP_SOON,
    QUICK,
    VARIABLES,
    Training,
    closed_port,
    follow,
    load_callback,
    program,
)
from tests.support.checkpoint_receiver import checkpoint_receiver
from tests.support.deployment import Deployment
from tests.support.verdicts import assert_exactly_once, document
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from tests.support.checkpoint_receiver import CheckpointReceiver
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

pytestmark = pytest.mark.timeout(300)  # the first run installs transformers

LOOKS = 5


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """Load the file without transformers, as a plain PyTorch loop does."""
    return load_callback()


@pytest.fixture
def receiver() -> Iterator[CheckpointReceiver]:
    """Run a receiver that accepts everything, unless a test plans otherwise."""
    with checkpoint_receiver() as running:
        yield running


class Looks:
    """Counts how often the sender looks at files, and can do something before each look."""

    def __init__(self, module: ModuleType, before: Callable[[Path], object] | None = None) -> None:
        self.count = 0
        self._before = before
        self._look = module.snapshot

    def __call__(self, path: Path) -> object:
        """Look."""
        if self._before is not None:
            self._before(path)
        found = self._look(path)
        self.count += 1
        return found

    def wait_for_more(self) -> None:
        """Wait until it has looked some more times."""
        wanted = self.count + LOOKS
        wait_until(lambda: self.count >= wanted, what="more looks at the files")


@pytest.fixture
def training(module: ModuleType, tmp_path: Path) -> Training:
    """Return a training without checkpoints."""
    return Training(module, tmp_path)


def test_each_save_of_the_trainer_arrives(training: Training, receiver: CheckpointReceiver) -> None:
    """The real callback handler calls the callback; the object has all that is known."""
    done = follow(training.folder, receiver.url)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert receiver.ids == training.ids(2, 4, 6)
    state = training.folder / "checkpoint-4/trainer_state.json"
    assert receiver.requests[1].path == "/v1/checkpoints"
    assert receiver.requests[1].document == {
        "id": training.ids(4)[0],
        "created_at": int(state.stat().st_mtime),
        "fine_tuned_model_checkpoint": str(training.folder / "checkpoint-4"),
        "fine_tuning_job_id": "run-1",
        "metrics": {"step": 4, "train_loss": 3.6, "full_valid_loss": 3.0},
        "object": "fine_tuning.job.checkpoint",
        "step_number": 4,
    }
    assert not training.spooled
    assert not training.unsent


def test_other_ranks_are_silent(training: Training, receiver: CheckpointReceiver) -> None:
    """A process that is not rank 0 sends nothing and writes nothing of its own."""
    done = follow(training.folder, receiver.url, is_rank_0=False)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert receiver.requests == []
    assert {path.name for path in training.folder.iterdir()} == {
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    }


def test_a_receiver_that_is_down(training: Training, cluster: Cluster, names: Names) -> None:
    """The training ends well; `backfill` reads the file; the service publishes each id once."""
    done = follow(training.folder, closed_port(), limits=GIVES_UP_SOON)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert [one["id"] for one in training.unsent] == training.ids(2, 4, 6)
    assert training.spooled == []
    file = str(training.folder / "checkpoint-ready.jsonl")
    with Deployment(cluster, names) as deployment:
        for arguments in (["--execute"], ["--execute", "--again"]):
            filled = deployment.run("backfill", file, *arguments)
            assert filled.exit_code == 0, filled
            assert filled.json_lines[-1]["sent"] == 3
        service = deployment.start()
        events = assert_exactly_once(cluster, names, training.ids(2, 4, 6))
        assert service.terminate() == 0
    published = [document(event)["data"]["checkpoint"] for event in events]
    assert sorted(published, key=lambda one: int(one["step_number"])) == training.unsent
    models = [document(event)["data"]["model"] for event in events]
    assert sorted(model["step"] for model in models) == [2, 4, 6]


def test_a_crash_before_the_acknowledgement(
    training: Training, receiver: CheckpointReceiver
) -> None:
    """After SIGKILL the next start of the training sends the same objects."""
    receiver.may_answer.clear()
    command = program(training.folder, receiver.url, steps=6, wait_after_step=4)
    with subprocess.Popen(
        command, env=VARIABLES, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"saved\n"
            wait_until(lambda: receiver.requests, what="the first request")
        finally:
            process.kill()
    receiver.may_answer.set()
    assert training.spooled == sorted(training.ids(2, 4))
    done = follow(training.folder, receiver.url, first_step=5)
    assert done.returncode == 0, done.stderr
    assert receiver.ids == training.ids(2, 2, 4, 6)
    assert receiver.requests[0].document == receiver.requests[1].document
    assert not training.spooled
    assert not training.unsent


def test_a_crash_of_a_training_that_is_not_started_again(training: Training) -> None:
    """The file, run as a command, sets aside the complete checkpoints of a killed training."""
    command = program(training.folder, closed_port(), wait_after_step=4)
    with subprocess.Popen(
        command, env=VARIABLES, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"saved\n"
        finally:
            process.kill()
    (training.folder / "checkpoint-4/model.safetensors").unlink()
    done = subprocess.run(
        [sys.executable, FILE, training.folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("1 checkpoints moved to ")
    assert [one["id"] for one in training.unsent] == training.ids(2)


def test_a_training_that_fails(training: Training) -> None:
    """At the exit of the process the unsent checkpoints are set aside, within a bounded time."""
    limits = {**QUICK, "end_seconds": 0.2}
    done = follow(training.folder, closed_port(), fail_after_step=4, limits=limits)
    assert done.returncode == 1
    assert "RuntimeError: the training fails" in done.stderr
    assert sorted(one["id"] for one in training.unsent) == sorted(training.ids(2, 4))


def test_files_that_appear_late(
    training: Training, receiver: CheckpointReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent until each file of the index and the state exist."""
    looks = Looks(training.module)
    monkeypatch.setattr(training.module, "snapshot", looks)
    sender = training.sender(receiver.url)
    path = training.folder / "checkpoint-2"
    sender.announce(path, 2)
    looks.wait_for_more()
    path.mkdir()
    (path / "training_args.bin").write_bytes(b"not weights")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    for name, content in (
        ("model-1.safetensors", b"a"),
        ("model.safetensors.index.json", json.dumps(index).encode()),
        ("optimizer.pt", b"not weights"),
        ("trainer_state.json", b'{"incomplete'),
        ("trainer_state.json", b"{}"),
    ):
        (path / name).write_bytes(content)
        looks.wait_for_more()
        assert receiver.requests == [], name
    (path / "model-2.safetensors").write_bytes(b"b")
    wait_until(lambda: receiver.ids == training.ids(2), what="the checkpoint")
    sender.close()


def test_files_that_grow(
    training: Training, receiver: CheckpointReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent while a file grows."""

    def grow(path: Path) -> None:
        if looks.count < LOOKS:
            with (path / "model.safetensors").open("ab") as file:
                file.write(b"more")
            assert receiver.requests == []

    looks = Looks(training.module, before=grow)
    monkeypatch.setattr(training.module, "snapshot", looks)
    sender = training.sender(receiver.url)
    sender.announce(training.save(2), 2)
    wait_until(lambda: receiver.ids == training.ids(2), what="the checkpoint")
    assert looks.count > LOOKS
    sender.close()


@pytest.mark.parametrize("is_deleted", [False, True])
def test_files_that_are_never_complete(
    training: Training,
    receiver: CheckpointReceiver,
    is_deleted: bool,  # noqa: FBT001 - a parameter of pytest
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The wait is bounded, and a deleted checkpoint ends it at once. The next one is sent."""
    limits = {"complete_seconds": 60 if is_deleted else 0.1}
    sender = training.sender(receiver.url, limits=limits)
    path = training.folder / "checkpoint-2"
    path.mkdir()
    sender.announce(path, 2)
    if is_deleted:
        path.rmdir()
    sender.announce(training.save(4), 4)
    sender.close()
    assert receiver.ids == training.ids(4)
    assert training.unsent == []
    assert "not announced" in caplog.text


def test_a_slow_receiver_does_not_delay_the_training(
    training: Training, receiver: CheckpointReceiver
) -> None:
    """`announce` returns while the receiver still holds the first request open."""
    receiver.may_answer.clear()
    sender = training.sender(receiver.url)
    sender.announce(training.save(2), 2)
    wait_until(lambda: receiver.requests, what="the first request")
    for step in (4, 6):
        sender.announce(training.save(step), step)
    assert receiver.answered == 0
    assert receiver.ids == training.ids(2)
    receiver.may_answer.set()
    wait_until(lambda: receiver.answered == 3, what="all requests")
    sender.close()
    assert receiver.ids == training.ids(2, 4, 6)


def test_a_slow_receiver_delays_the_end_for_a_bounded_time(
    training: Training, receiver: CheckpointReceiver
) -> None:
    """`close` returns while the request is open. What is not acknowledged is set aside."""
    receiver.may_answer.clear()
    sender = training.sender(receiver.url, limits={"end_seconds": 0.1})
    for step in (2, 4):
        sender.announce(training.save(step), step)
    sender.close()
    assert receiver.answered == 0
    assert [one["id"] for one in training.unsent] == training.ids(2, 4)
    assert training.spooled == []


def test_a_full_queue(training: Training, receiver: CheckpointReceiver) -> None:
    """What does not fit the queue is sent later, or set aside at the end. Memory is bounded."""
    receiver.may_answer.clear()
    sender = training.sender(receiver.url, limits={"queue": 2})
    steps = range(1, 8)
    for step in steps:
        sender.announce(training.save(step), step)
    assert sender.queued == 2
    assert training.spooled == sorted(training.ids(*steps))
    receiver.may_answer.set()
    wait_until(lambda: receiver.answered == 7, what="all requests")
    sender.close()
    assert sorted(receiver.ids) == sorted(training.ids(*steps))
    assert not training.spooled
    assert not training.unsent


def test_a_full_queue_at_the_end(training: Training) -> None:
    """Checkpoints that did not fit the queue are in the file of unsent ones too."""
    sender = training.sender(closed_port(), limits={"queue": 2, "end_seconds": 0.1})
    for step in range(1, 8):
        sender.announce(training.save(step), step)
    sender.close()
    assert sorted(one["id"] for one in training.unsent) == sorted(training.ids(*range(1, 8)))
    assert training.spooled == []


def test_retries(training: Training, receiver: CheckpointReceiver) -> None:
    """A status that may pass is retried; a redirect is not followed; only 202 acknowledges."""
    receiver.statuses = [503, 500, 429, 302, 401, 200, 204]
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    sender = training.sender(receiver.url)
    sender.announce(training.save(2), 2)
    sender.close()
    assert receiver.ids == training.ids(2) * 8
    assert {request.path for request in receiver.requests} == {"/v1/checkpoints"}
    assert training.unsent == []


def test_a_page_of_a_proxy_is_no_acknowledgement(
    training: Training, receiver: CheckpointReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A login page has the status 200. The checkpoint is kept, and the log says why."""
    receiver.statuses = [200] * 100
    sender = training.sender(receiver.url, limits=GIVES_UP_SOON)
    sender.announce(training.save(2), 2)
    sender.close()
    assert [one["id"] for one in training.unsent] == training.ids(2)
    assert "status 200 is no acknowledgement" in caplog.text


UNREADABLE = {
    "empty": b"",
    "cut off": b'{"path": "checkpoint-2", "che',
    "not UTF-8": b"\xff\xfe{}",
    "no object": b"[]",
    "no checkpoint": b'{"path": "checkpoint-2"}',
    "a text": b'{"path": "checkpoint-2", "checkpoint": "x"}',
    "another id": b'{"path": "checkpoint-2", "checkpoint": {"id": "../other"}}',
    "deep": b"[" * 100_000,
}


def spool(training: Training, *steps: int) -> Path:
    """Save checkpoints that a killed process has not sent; return the folder of their files."""
    folder = training.folder / ".checkpoint-ready"
    folder.mkdir()
    for step, name in zip(steps, training.ids(*steps), strict=True):
        content = {"path": training.save(step).name, "checkpoint": {"id": name}}
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_file_does_not_block_the_others(
    training: Training,
    receiver: CheckpointReceiver,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a power loss a file can be damaged. It is set aside, and the others are sent."""
    folder = spool(training, 2, 4)
    (folder / "zero.json").write_bytes(content)
    (folder / "folder.json").mkdir()
    sender = training.sender(receiver.url)
    sender.resume()
    wait_until(lambda: receiver.answered == 2, what="both requests")
    sender.close()
    assert sorted(receiver.ids) == sorted(training.ids(2, 4))
    assert {file.name for file in folder.iterdir()} == {"zero.unreadable", "folder.unreadable"}
    assert (folder / "zero.unreadable").read_bytes() == content
    assert "zero.json cannot be read" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_unreadable_file_does_not_block_the_command(training: Training) -> None:
    """What can be read is moved to the file for `backfill`."""
    folder = spool(training, 2)
    for name, content in ((f"{training.ids(4)[0]}.json", b""), ("zero.json", b"")):
        (folder / name).write_bytes(content)
    command = [sys.executable, str(FILE), str(training.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "zero.json cannot be read, and is set aside" in done.stderr
    assert "Traceback" not in done.stderr
    assert [one["id"] for one in training.unsent] == training.ids(2)


def test_files_are_on_the_disk_before_their_names(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss leaves either no file or a complete one; nothing is deleted too early."""
    order: list[str] = []
    sync, replace, unlink = os.fsync, pathlib.Path.replace, pathlib.Path.unlink
    names = {".tmp": "spool file", ".jsonl": "file of unsent ones"}

    def note_sync(descriptor: int) -> None:
        suffix = pathlib.Path(f"/proc/self/fd/{descriptor}").readlink().suffix
        order.append(f"sync {names.get(suffix, 'folder')}")
        sync(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return replace(path, target)

    def note_unlink(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as pathlib's
        order.append("delete")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(pathlib.Path, "replace", note_replace)
    monkeypatch.setattr(pathlib.Path, "unlink", note_unlink)
    sender = training.sender(closed_port(), limits={"end_seconds": 0})
    sender.announce(training.save(2), 2)
    sender.close()
    assert order == [
        "sync spool file",
        "rename",
        "sync folder",
        "sync file of unsent ones",
        "sync folder",
        "delete",
    ]


def test_a_cut_off_line_does_not_spoil_the_next_one(training: Training) -> None:
    """The process died while it appended to the file of unsent checkpoints."""
    file = training.folder / "checkpoint-ready.jsonl"
    file.write_text('{"id": "ckpt')
    sender = training.sender(closed_port(), limits={"end_seconds": 0})
    sender.announce(training.save(2), 2)
    sender.close()
    cut, line = file.read_text().splitlines()
    assert cut == '{"id": "ckpt'
    assert json.loads(line)["id"] == training.ids(2)[0]


@pytest.mark.parametrize(
    ("status", "headers"), [(422, {}), (413, {}), (503, {"Retry-After": "3600"})]
)
def test_no_retries(
    training: Training, receiver: CheckpointReceiver, status: int, headers: dict[str, str]
) -> None:
    """Nothing is sent again if it would be refused again, or only after the bound."""
    receiver.statuses, receiver.headers = [status], headers
    sender = training.sender(receiver.url)
    sender.announce(training.save(2), 2)
    sender.close()
    assert receiver.ids == [one["id"] for one in training.unsent] == training.ids(2)


def test_a_repeated_save(training: Training, receiver: CheckpointReceiver) -> None:
    """The same save has the same id and content in another process; a sender sends it once."""
    path = training.save(2)
    for answered in (1, 2):
        sender = training.sender(receiver.url)
        sender.announce(path, 2)
        wait_until(partial(receiver.has_answered, answered), what="the request")
        sender.announce(path, 2)
        sender.close()
    assert receiver.ids == training.ids(2, 2)
    assert receiver.requests[0].document == receiver.requests[1].document
    assert training.module.checkpoint_id("run-1", 12) != training.module.checkpoint_id("run-11", 2)


def test_the_token(
    training: Training, receiver: CheckpointReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes from a file that is read for each request, and is never logged."""
    file = training.folder / "token"
    file.write_text("first-secret\n")
    sender = training.sender(receiver.url, token_file=file, limits=GIVES_UP_SOON)
    for step, token in ((2, "second-secret"), (4, "broken\nsecret"), (6, "")):
        sender.announce(training.save(step), step)
        wait_until(lambda: not training.spooled, what="the end of the attempts")
        file.write_text(token)
    sender.close()
    assert [one.headers.get("authorization") for one in receiver.requests] == [
        "Bearer first-secret",
        "Bearer second-secret",
    ]
    assert [one["id"] for one in training.unsent] == training.ids(6)
    assert "cannot be sent: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_metrics(training: Training) -> None:
    """Evaluation metrics must be of the same step; NaN and texts are left out."""
    history = [
        {"step": 2, "loss": 3.0, "mean_token_accuracy": 0.5},
        {"step": 2, "eval_loss": 2.5},
        {"step": 3, "loss": 2.0, "grad_norm": 1.0},
        {"step": 4, "eval_loss": 1.5, "eval_mean_token_accuracy": 0.75},
    ]
    metrics = partial(training.module.metrics_of, history)
    assert metrics(4) == {
        "train_loss": 2.0,
        "train_mean_token_accuracy": 0.5,
        "full_valid_loss": 1.5,
        "full_valid_mean_token_accuracy": 0.75,
    }
    assert metrics(3) == {"train_loss": 2.0, "train_mean_token_accuracy": 0.5}
    numbers = training.module.finite_numbers
    assert numbers({"a": float("nan"), "b": None, "c": "1.5", "d": "x", "e": [1]}) == {"c": 1.5}


def test_nothing_is_raised(
    training: Training, receiver: CheckpointReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a place for its files it still sends; a wrong path is only logged."""
    (training.folder / ".checkpoint-ready").write_text("not a folder")
    sender = training.sender(receiver.url, uri_prefix="s3://models/run/", base_model="gpt2")
    sender.resume()
    sender.announce("/elsewhere/checkpoint-1", 1)
    sender.announce(training.save(2), 2)
    wait_until(lambda: receiver.answered == 1, what="the request")
    sender.close()
    sent = receiver.requests[0].document
    assert sent["fine_tuned_model_checkpoint"] == "s3://models/run/checkpoint-2"
    assert sent["base_model"] == "gpt2"
    assert "checkpoint of step 1 is not announced" in caplog.text
    assert "is lost if the process ends" in caplog.text


def test_wrong_arguments(training: Training) -> None:
    """They fail when the callback is made, before the training starts."""
    for url, run_id in (("ftp://host", "run-1"), ("http://host", "")):
        with pytest.raises(ValueError, match="url must begin"):
            training.module.CheckpointReadyCallback(url, run_id)
