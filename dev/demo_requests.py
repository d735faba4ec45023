"""Plans the HTTP requests of the demo, and signs them as their senders do.

Trainers send checkpoints with a token, alone and in batches. A platform signs by Standard Webhooks.
A model registry signs by an HMAC and sends an event of its own, which the receiver maps to a
checkpoint. Some requests are sent twice. One is not signed, and one has an invalid checkpoint.
"""

from __future__ import annotations

import base64
import hmac
import json
import random
import secrets
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from tests.support.documents import OBJECT, compact
from tests.support.sample_jobs import make_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.documents import Document

CHECKPOINTS = "/v1/checkpoints"
PLATFORM = "/v1/webhooks/platform"
REGISTRY = "/v1/webhooks/registry"
JSON, JSON_LINES = "application/json", "application/x-ndjson"
ROUNDS = 4
REPEATED = 4
"""One of this many requests is sent twice."""
CONFIG = """\
port = PORT

[checkpoints]
token_files = ["FOLDER/token"]

[webhooks.platform]
kind = "standard-webhooks"
secret_files = ["FOLDER/platform-secret"]

[webhooks.registry]
kind = "hmac-body"
secret_files = ["FOLDER/registry-secret"]
header = "X-Signature"
encoding = "base64"
prefix = "v1,"
signed_headers = ["X-Delivery-Id", "X-Timestamp"]
timestamp_header = "X-Timestamp"

[webhooks.registry.checkpoint]
when = { "/entity" = "model_version", "/action" = "created" }

[webhooks.registry.checkpoint.fields]
id = { template = "registry-{/data/name}-{/data/version}" }
created_at = { pointer = "/timestamp" }
fine_tuning_job_id = { pointer = "/data/run_id" }
fine_tuned_model_checkpoint = { pointer = "/data/source" }
step_number = { pointer = "/data/version" }

[webhooks.registry.checkpoint.metrics]
train_loss = { pointer = "/data/loss" }
"""


class PlannedRequest(NamedTuple):
    """A request, and the answer that it must get."""

    path: str
    body: bytes
    contents: dict[str, Document]
    """The checkpoints by their ids; none if the request must be refused."""
    content_type: str = JSON
    status: HTTPStatus = HTTPStatus.ACCEPTED
    is_signed: bool = True


class Secrets(NamedTuple):
    """The secrets that the senders and the receiver share."""

    token: str
    platform: bytes
    registry: str

    @classmethod
    def create(cls) -> Secrets:
        """Return random secrets."""
        return cls(secrets.token_hex(32), secrets.token_bytes(32), secrets.token_hex(32))

    def write_config(self, folder: Path, port: int) -> Path:
        """Write the configuration of the receiver and its secrets; return its path."""
        (folder / "token").write_text(self.token)
        key = base64.b64encode(self.platform).decode()
        (folder / "platform-secret").write_text(f"whsec_{key}")
        (folder / "registry-secret").write_text(self.registry)
        path = folder / "ingest.toml"
        path.write_text(CONFIG.replace("PORT", str(port)).replace("FOLDER", str(folder)))
        return path

    def headers(self, request: PlannedRequest, delivery: str, now: int) -> dict[str, str]:
        """Return the headers of a request; `now` is in Unix seconds."""
        headers = {"Content-Type": request.content_type}
        if not request.is_signed:
            return headers
        if request.path == CHECKPOINTS:
            return headers | {"Authorization": f"Bearer {self.token}"}
        content = b".".join((delivery.encode(), str(now).encode(), request.body))
        if request.path == PLATFORM:
            return headers | {
                "webhook-id": delivery,
                "webhook-timestamp": str(now),
                "webhook-signature": _signature(self.platform, content),
            }
        return headers | {
            "X-Delivery-Id": delivery,
            "X-Timestamp": str(now),
            "X-Signature": _signature(self.registry.encode(), content),
        }


def plan_requests(seed: int) -> list[PlannedRequest]:
    """Return the requests in their order. The same seed always plans the same requests."""
    rng = random.Random(f"requests of {seed}")
    requests = [request for _ in range(ROUNDS) for request in _round(rng)]
    requests += [_invalid(rng), _unsigned(rng)]
    rng.shuffle(requests)
    planned = []
    for number, request in enumerate(requests):
        planned += [request, request] if number % REPEATED == 0 else [request]
    return planned


def _round(rng: random.Random) -> Iterator[PlannedRequest]:
    """Yield a request of every kind that is accepted."""
    for content in make_job(rng).checkpoints[:3]:
        yield _request(CHECKPOINTS, compact(content), [content])
    contents = make_job(rng).checkpoints
    yield _request(CHECKPOINTS, compact(contents), contents)
    contents = make_job(rng).checkpoints
    listed = {"object": "list", "data": contents[::-1], "has_more": False}
    yield _request(CHECKPOINTS, compact(listed), contents)
    contents = make_job(rng).checkpoints
    yield _request(CHECKPOINTS, b"\n".join(map(compact, contents)), contents, JSON_LINES)
    content = make_job(rng).checkpoints[0]
    yield _request(PLATFORM, compact(content), [content])
    for version in (1, 2):
        yield _registered(rng, version)


def _request(
    path: str, body: bytes, contents: list[Document], content_type: str = JSON
) -> PlannedRequest:
    return PlannedRequest(path, body, {one["id"]: one for one in contents}, content_type)


def _registered(rng: random.Random, version: int) -> PlannedRequest:
    """Return the event of a new model version, and the checkpoint that the mapping makes of it."""
    example = make_job(rng).checkpoints[0]
    name, loss = f"support-bot-{rng.randrange(10**9)}", round(rng.uniform(0.1, 3), 4)
    content = {
        "id": f"registry-{name}-{version}",
        "object": OBJECT,
        "created_at": example["created_at"],
        "fine_tuning_job_id": f"run-{rng.randrange(10**9)}",
        "fine_tuned_model_checkpoint": f"s3://models/{name}/{version}",
        "step_number": version,
        "metrics": {"train_loss": loss},
    }
    event = {
        "entity": "model_version",
        "action": "created",
        "timestamp": datetime.fromtimestamp(example["created_at"], UTC).isoformat(),
        "data": {
            "name": name,
            "version": str(version),
            "run_id": content["fine_tuning_job_id"],
            "source": content["fine_tuned_model_checkpoint"],
            "loss": loss,
        },
    }
    return _request(REGISTRY, json.dumps(event).encode(), [content])


def _invalid(rng: random.Random) -> PlannedRequest:
    """Return a batch with one invalid checkpoint: the receiver must send none of them."""
    contents = make_job(rng).checkpoints
    body = compact([*contents, {**contents[0], "id": "", "step_number": "88"}])
    return PlannedRequest(CHECKPOINTS, body, {}, status=HTTPStatus.UNPROCESSABLE_ENTITY)


def _unsigned(rng: random.Random) -> PlannedRequest:
    """Return a valid checkpoint without a signature."""
    body = compact(make_job(rng).checkpoints[0])
    return PlannedRequest(PLATFORM, body, {}, status=HTTPStatus.UNAUTHORIZED, is_signed=False)


def _signature(secret: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(secret, content, "sha256")).decode()
