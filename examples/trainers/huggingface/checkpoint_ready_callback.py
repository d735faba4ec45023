"""Announces each saved checkpoint of a training to `checkpoint-ready ingest`. Copy this one file.

`CheckpointReadyCallback` is for the Trainer of transformers and for what builds on it.
`CheckpointSender` is for any other training loop. Only the standard library is needed besides.

A training never fails or waits because of it, except for a bounded time at its end. Until the
receiver has acknowledged a checkpoint, a small file about it is in the folder `.checkpoint-ready`
of the output directory. If the process dies, the next start of the training sends it. Checkpoints
that cannot be sent are appended to `checkpoint-ready.jsonl`, which `checkpoint-ready backfill`
reads. A checkpoint may be sent twice. The service publishes each id once.

`python checkpoint_ready_callback.py OUTPUT_DIR` moves the checkpoints of a training that died, and
that will not be started again, to `checkpoint-ready.jsonl`.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import http.client
import json
import logging
import math
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from transformers import TrainerCallback
except ImportError:  # the sender also works without transformers
    TrainerCallback = object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SPOOL, UNSENT, STATE = ".checkpoint-ready", "checkpoint-ready.jsonl", "trainer_state.json"
TRAIN_METRICS = {"loss": "train_loss", "mean_token_accuracy": "train_mean_token_accuracy"}
EVAL_METRICS = {
    "eval_loss": "full_valid_loss",
    "eval_mean_token_accuracy": "full_valid_mean_token_accuracy",
}
WEIGHTS = re.compile(r".*\.(safetensors|bin|pt|pth|distcp|ckpt)")
NOT_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state).*")
ACKNOWLEDGED = 202  # any other answer with success is not from the receiver
REFUSED = (400, 413, 415, 422)  # the same request will not be accepted later
log = logging.getLogger("checkpoint_ready")


@dataclass(frozen=True)
class Limits:
    """Bounds of waiting (s) and of memory."""

    queue: int = 100
    complete_seconds: float = 600.0  # for the files of a checkpoint
    settle_seconds: float = 1.0  # sizes must not change for this time
    request_seconds: float = 10.0
    send_seconds: float = 60.0  # for one checkpoint with all its retries
    first_retry_seconds: float = 0.5
    end_seconds: float = 30.0  # at the end of the training


@dataclass(frozen=True)
class Saved:
    """A saved checkpoint: where its files are, and the object that is sent."""

    path: Path
    checkpoint: dict[str, Any]
    patience_seconds: float  # how long to wait for its files
    existed: bool = True  # so it is deleted if it does not exist later

    @property
    def id(self) -> str:
        """Return the id of the checkpoint."""
        return str(self.checkpoint["id"])


def checkpoint_id(run_id: str, step: int) -> str:
    """Return the id of a checkpoint: the same run and step always have the same id."""
    return "ckpt_" + hashlib.sha256(f"{run_id}\0{step}".encode()).hexdigest()[:32]


def metrics_of(log_history: Sequence[Mapping[str, Any]], step: int) -> dict[str, Any]:
    """Return the newest training metrics, and the evaluation metrics of exactly this step."""
    found: dict[str, Any] = {}
    for entry in reversed(log_history[-1000:]):
        names = TRAIN_METRICS | EVAL_METRICS if entry.get("step") == step else TRAIN_METRICS
        for name in entry.keys() & names.keys():
            found.setdefault(names[name], entry[name])
    return found


def snapshot(path: Path) -> dict[str, int] | None:
    """Return the sizes of the files of a checkpoint; None if a file is missing.

    A checkpoint is one file, or a directory with `trainer_state.json`, which the Trainer writes
    last, and with weights. If the weights have an index, each file in the index must exist.
    """
    try:
        if path.is_file():
            return {path.name: path.stat().st_size}
        sizes = {str(f.relative_to(path)): f.stat().st_size for f in path.rglob("*") if f.is_file()}
        json.loads((path / STATE).read_bytes())
        for name in [name for name in sizes if name.endswith(".index.json")]:
            index = json.loads((path / name).read_bytes())
            if not {str(Path(name).parent / f) for f in index["weight_map"].values()} <= set(sizes):
                return None
    except (OSError, ValueError, LookupError):
        return None
    names = [name.rpartition("/")[2] for name in sizes]
    weights = [name for name in names if WEIGHTS.fullmatch(name) and not NOT_WEIGHTS.match(name)]
    return sizes if weights else None


class CheckpointSender:
    """Sends saved checkpoints in a daemon thread. Use it in one process of a training (rank 0)."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        url: str,
        run_id: str,
        folder: str | os.PathLike[str],
        *,
        uri_prefix: str | None = None,
        base_model: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        limits: Limits = Limits(),
    ) -> None:
        """Prepare, without any connection.

        Args:
            url: of `checkpoint-ready ingest`, without a path.
            run_id: the same after a restart that continues the training, otherwise a new one.
            folder: the output directory of the training.
            uri_prefix: where subscribers find the folder (default: its absolute path).
            base_model: the model that is fine-tuned, if subscribers should know it.
            token_file: has the bearer token (default: the variable CHECKPOINT_INGEST_TOKEN).
            limits: bounds of time and memory.

        Raises:
            ValueError: the URL or the run id cannot be used.
        """
        if not url.startswith(("http://", "https://")) or not run_id:
            raise ValueError(
                "url must begin with http:// or https://, and run_id must not be empty"
            )
        self._url = f"{url.rstrip('/')}/v1/checkpoints"
        self._run_id = run_id
        self._folder = Path(folder).absolute()
        self._prefix = (uri_prefix or str(self._folder)).rstrip("/")
        self._extra = {"base_model": base_model} if base_model else {}
        self._token_file = token_file
        self._limits = limits
        self._announced: set[str] = set()
        self._queue: deque[Saved] = deque()  # the first one is being sent
        self._changed = threading.Condition()
        self._overflowed = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)

    @property
    def queued(self) -> int:
        """Return how many checkpoints are in memory."""
        return len(self._queue)

    def announce(
        self,
        path: str | os.PathLike[str],
        step: int,
        metrics: Mapping[str, Any] | None = None,
        log_history: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Send a saved checkpoint when its files are complete. Returns at once, never raises.

        Args:
            path: the file or directory of the checkpoint, in the folder of the training.
            step: the number of the step.
            metrics: by their names in `fine_tuning.job.checkpoint`, such as `train_loss`.
            log_history: of the Trainer, which metrics are taken from.
        """
        try:
            all_metrics = metrics_of(log_history, step) | dict(metrics or {})
            saved = self._saved(Path(path).absolute(), step, all_metrics)
            if saved.id in self._announced:
                return
            self._announced.add(saved.id)
            self._keep(saved)
            self._offer(saved)
        except Exception:  # a notification must not end a training
            log.exception("checkpoint of step %s is not announced", step)

    def resume(self, patience_seconds: float = 0.0) -> None:
        """Send what an earlier process of this training saved but did not send. Never raises.

        Args:
            patience_seconds: how long to wait for files. Without patience, a checkpoint with
                missing files is dropped, because the process that saved it has ended.
        """
        try:
            for saved in kept(self._folder, patience_seconds):
                self._offer(saved)
        except Exception:  # as above
            log.exception("checkpoints of an earlier process are not announced")

    def close(self) -> None:
        """Wait a bounded time until all is sent. The rest goes to the file of unsent checkpoints.

        Can be called again. `announce` after it starts the thread again.
        """
        if self._thread is None:
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, self._limits.end_seconds)
            self._stop.set()
            self._queue.clear()
            self._thread = None
            self._changed.notify_all()
        atexit.unregister(self.close)
        try:
            set_aside(self._folder, self._limits.settle_seconds)
        except Exception:  # as above
            log.exception("unsent checkpoints stay in %s", self._folder / SPOOL)

    def _saved(self, path: Path, step: int, metrics: Mapping[str, Any]) -> Saved:
        written = path if path.is_file() else path / STATE
        checkpoint = {
            "id": checkpoint_id(self._run_id, step),
            "created_at": int(written.stat().st_mtime if written.is_file() else time.time()),
            "fine_tuned_model_checkpoint": f"{self._prefix}/{path.relative_to(self._folder)}",
            "fine_tuning_job_id": self._run_id,
            "metrics": {"step": int(step)} | finite_numbers(metrics),
            "object": "fine_tuning.job.checkpoint",
            "step_number": int(step),
            **self._extra,
        }
        return Saved(path, checkpoint, self._limits.complete_seconds, path.exists())

    def _keep(self, saved: Saved) -> None:
        file = _spool_file(self._folder, saved.id)
        try:
            file.parent.mkdir(exist_ok=True)
            content = {
                "path": str(saved.path.relative_to(self._folder)),
                "checkpoint": saved.checkpoint,
            }
            temporary = file.with_suffix(".tmp")
            write_durably(temporary, json.dumps(content), "w")
            temporary.replace(file)  # so a file with this name is complete
            sync_folder(file.parent)
        except OSError as error:
            log.warning("%s is lost if the process ends: %s", saved.id, error)

    def _offer(self, saved: Saved) -> None:
        with self._changed:
            if any(saved.id == other.id for other in self._queue):
                return
            if len(self._queue) >= self._limits.queue:
                self._overflowed = True  # its file is read again when the queue is empty
                return
            self._queue.append(saved)
            self._changed.notify_all()
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._work, args=(self._stop,), name="checkpoint-ready", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)  # for a training that ends with an error

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue) or stop.is_set())
                if stop.is_set():
                    return
                saved = self._queue[0]
            try:
                self._handle(saved, stop)
            except Exception:  # the next one may succeed
                log.exception("checkpoint %s stays in %s", saved.id, self._folder / SPOOL)
            with self._changed:
                reload = self._overflowed and len(self._queue) == 1
            if reload:
                self._overflowed = False
                self.resume(self._limits.complete_seconds)
            with self._changed:
                if self._queue and self._queue[0] is saved:
                    self._queue.popleft()
                self._changed.notify_all()

    def _handle(self, saved: Saved, stop: threading.Event) -> None:
        if self._is_complete(saved, stop):
            if self._send(saved, stop):
                _spool_file(self._folder, saved.id).unlink(missing_ok=True)
            elif not stop.is_set():  # otherwise `close` does it
                _append(self._folder, [saved])

    def _is_complete(self, saved: Saved, stop: threading.Event) -> bool:
        """Wait until the files are complete and their sizes do not change."""
        deadline = time.monotonic() + saved.patience_seconds
        before = snapshot(saved.path)
        while not stop.wait(self._limits.settle_seconds):
            now = snapshot(saved.path)
            if now is not None and now == before:
                return True
            gone = saved.existed and not saved.path.exists()
            if gone or time.monotonic() > deadline:
                log.warning("%s is %s, not announced", saved.path, "gone" if gone else "incomplete")
                if gone or saved.patience_seconds <= 0:
                    _spool_file(self._folder, saved.id).unlink(missing_ok=True)
                return False
            before = now
        return False

    def _send(self, saved: Saved, stop: threading.Event) -> bool:
        """Send with bounded retries; return whether the receiver has acknowledged."""
        deadline = time.monotonic() + self._limits.send_seconds
        delay = self._limits.first_retry_seconds
        while True:
            wait = delay
            try:
                self._post(saved.checkpoint)
            except urllib.error.HTTPError as error:
                with error:
                    problem = f"status {error.code}"
                    if error.code in REFUSED:
                        log.warning("%s is refused: %s", saved.id, problem)
                        return False
                    after = error.headers.get("Retry-After", "")
                    wait = max(delay, float(after)) if after.isdecimal() else delay
            except _NotAcknowledged as error:
                problem = str(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = type(error).__name__  # the text of a ValueError may have the token
            else:
                return True
            if time.monotonic() + wait > deadline or stop.wait(wait):
                log.warning("%s cannot be sent: %s", saved.id, problem)
                return False
            delay = min(2 * delay, 30.0)

    def _post(self, checkpoint: Mapping[str, Any]) -> None:
        token = os.environ.get("CHECKPOINT_INGEST_TOKEN", "")
        if self._token_file is not None:  # read each time: tokens are rotated
            token = Path(self._token_file).read_text(encoding="utf-8")
        headers = {"Content-Type": "application/json"}
        if token.strip():
            headers["Authorization"] = f"Bearer {token.strip()}"
        body = json.dumps(checkpoint).encode()
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 - http or https
        with self._opener.open(request, timeout=self._limits.request_seconds) as response:
            if response.status != ACKNOWLEDGED:  # such as the login page of a proxy
                raise _NotAcknowledged(response.status)


class _NotAcknowledged(Exception):
    """A response with success that is not from the receiver. It keeps its status."""

    def __str__(self) -> str:
        return f"status {self.args[0]} is no acknowledgement, check the URL"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it would turn the POST into a GET."""

    def redirect_request(self, *_: object) -> None:
        return None


class CheckpointReadyCallback(TrainerCallback):
    """Announces each checkpoint that the Trainer saves. The arguments are those of the sender."""

    def __init__(self, url: str, run_id: str, **options: Any) -> None:  # noqa: ANN401 - passed on
        CheckpointSender(url, run_id, ".", **options)  # wrong arguments fail here, not in the run
        self._arguments = (url, run_id)
        self._options = options
        self._sender: CheckpointSender | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401, ARG002
        """Send what an earlier process did not send."""
        if state.is_world_process_zero and not state.is_hyper_param_search:
            self._sender = CheckpointSender(*self._arguments, args.output_dir, **self._options)
            self._sender.resume()

    def on_save(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401, ARG002
        """Announce the checkpoint that was saved, or whose asynchronous save has begun."""
        if self._sender is not None:  # only in rank 0
            step = state.global_step
            path = Path(args.output_dir) / f"checkpoint-{step}"
            self._sender.announce(path, step, log_history=state.log_history)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401, ARG002
        """Wait a bounded time for what is not sent yet."""
        if self._sender is not None:
            self._sender.close()


def kept(folder: Path, patience_seconds: float = 0.0) -> list[Saved]:
    """Return the checkpoints that are not acknowledged, oldest first.

    A file that cannot be read gets the suffix `.unreadable`, and does not block the others.
    """
    found: list[tuple[int, Saved]] = []
    for file in (folder / SPOOL).glob("*.json"):
        try:
            found.append((file.stat().st_mtime_ns, _read_spooled(folder, file, patience_seconds)))
        except FileNotFoundError:  # acknowledged in the meantime
            continue
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("%s cannot be read, and is set aside: %s", file, error)
            with contextlib.suppress(OSError):
                file.replace(file.with_suffix(".unreadable"))
    return [saved for _, saved in sorted(found, key=lambda one: one[0])]


def _read_spooled(folder: Path, file: Path, patience_seconds: float) -> Saved:
    content = json.loads(file.read_bytes())
    saved = Saved(folder / content["path"], dict(content["checkpoint"]), patience_seconds)
    if saved.id != file.stem:
        raise ValueError("it has the id of another file")
    return saved


def write_durably(file: Path, text: str, mode: str) -> None:
    """Write or append a text, and return when it is on the disk."""
    with file.open(mode, encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def set_aside(folder: Path, settle_seconds: float) -> int:
    """Append complete checkpoints that are not acknowledged to the file of unsent ones."""
    waiting = kept(folder)
    if not waiting:
        return 0
    before = [snapshot(saved.path) for saved in waiting]
    time.sleep(settle_seconds)
    pairs = zip(waiting, before, strict=True)
    complete = [saved for saved, seen in pairs if seen and seen == snapshot(saved.path)]
    _append(folder, complete)
    return len(complete)


def _append(folder: Path, unsent: Iterable[Saved]) -> None:
    for saved in unsent:
        line = json.dumps(saved.checkpoint) + "\n"
        write_durably(folder / UNSENT, ("" if _ends_a_line(folder / UNSENT) else "\n") + line, "a")
        sync_folder(folder)
        _spool_file(folder, saved.id).unlink(missing_ok=True)


def _ends_a_line(file: Path) -> bool:
    """Return False if a crash has left a part of a line, which the next line must not join."""
    content = file.read_bytes() if file.exists() else b""
    return content[-1:] in (b"", b"\n")


def _spool_file(folder: Path, name: str) -> Path:
    return folder / SPOOL / f"{name}.json"


def finite_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite metrics: JSON has no NaN."""
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):  # None, or not a single number
            continue
        if math.isfinite(number):
            numbers[name] = number
    return numbers


if __name__ == "__main__":
    moved = set_aside(Path(sys.argv[1]).absolute(), Limits().settle_seconds)
    print(f"{moved} checkpoints moved to {Path(sys.argv[1]) / UNSENT}")
