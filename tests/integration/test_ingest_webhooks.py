"""Webhooks of each kind on a real broker: signatures, mappings, events, and rotated secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import Deployment
from tests.support.ingest import Ingest, start_ingest
from tests.support.records import checkpoint
from tests.support.standard_webhooks import signed_headers
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster

KEY = b"0123456789abcdef0123456789abcdef"
NEW_KEY = b"fedcba9876543210fedcba9876543210"
PLAIN = "a-secret-shared-with-mlflow"
WEBHOOKS = """
[webhooks.openai]
kind = "standard-webhooks"
secret_files = ["{folder}/openai"]

[webhooks.mlflow]
kind = "hmac-body"
secret_files = ["{folder}/mlflow"]
header = "X-MLflow-Signature"
encoding = "base64"
prefix = "v1,"
signed_headers = ["X-MLflow-Delivery-Id", "X-MLflow-Timestamp"]
timestamp_header = "X-MLflow-Timestamp"

[webhooks.mlflow.checkpoint]
when = {{ "/entity" = "model_version", "/action" = "created" }}
[webhooks.mlflow.checkpoint.fields]
id = {{ template = "mlflow-{{/data/name}}-{{/data/version}}" }}
created_at = {{ pointer = "/timestamp" }}
fine_tuning_job_id = {{ pointer = "/data/run_id" }}
fine_tuned_model_checkpoint = {{ pointer = "/data/source" }}
step_number = {{ pointer = "/data/version" }}
provider = {{ value = "mlflow" }}
[webhooks.mlflow.checkpoint.metrics]
train_loss = {{ pointer = "/data/tags/0/value" }}

[webhooks.public]
kind = "standard-webhooks"
secret_files = ["{folder}/openai"]
public_key_files = ["{folder}/public"]

[webhooks.wandb]
kind = "bearer"
token_files = ["{folder}/wandb"]
"""
REGISTERED = {
    "entity": "model_version",
    "action": "created",
    "timestamp": "2026-11-27T10:00:00+00:00",
    "data": {
        "name": "llama",
        "version": "7",
        "source": "s3://models/llama/7",
        "run_id": "run-1",
        "tags": [{"value": 0.25}],
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files with the secrets."""
    folder = tmp_path_factory.mktemp("webhooks")
    (folder / "openai").write_bytes(b"whsec_" + base64.b64encode(KEY))
    (folder / "mlflow").write_text(PLAIN)
    (folder / "wandb").write_text("a-token-of-wandb-012345\n")
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(folder / "private.pem"))
    # The last 32 bytes of this form are the key (RFC 8410).
    key = openssl("pkey", "-in", str(folder / "private.pem"), "-pubout", "-outform", "DER")[-32:]
    (folder / "public").write_bytes(b"whpk_" + base64.b64encode(key))
    return folder


@pytest.fixture(scope="module")
def deployment(cluster: Cluster) -> Iterator[Deployment]:
    """Make the topics of this module."""
    with Deployment(cluster, Names(f"webhooks-{time.time_ns()}")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def ingest(deployment: Deployment, folder: Path) -> Ingest:
    """Start a receiver with three webhooks."""
    return start_ingest(deployment, folder, WEBHOOKS.format(folder=folder))


def signed(body: bytes, key: bytes = KEY, *, at: float | None = None) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with a wrong signature before the right one."""
    headers = signed_headers(body, key, at=at)
    return headers | {"webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}


def openssl(*arguments: str) -> bytes:
    """Run OpenSSL and return its output."""
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def signed_with_private_key(body: bytes, folder: Path) -> dict[str, str]:
    """Return the headers of Standard Webhooks with a signature `v1a`, made by OpenSSL."""
    headers = signed(body)
    content = folder / "content"
    content.write_bytes(b"msg_1." + headers["webhook-timestamp"].encode() + b"." + body)
    key = str(folder / "private.pem")
    signature = openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", str(content))
    return headers | {"webhook-signature": f"v1a,{base64.b64encode(signature).decode()}"}


def send(ingest: Ingest, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, object]:
    """Send a webhook, and return status and answer."""
    reply = ingest.post(body, path=f"/v1/webhooks/{name}", token=None, headers=headers)
    return reply.status, reply.json


def values(deployment: Deployment) -> dict[str, bytes]:
    """Return the values in the input topic by their keys."""
    records = deployment.cluster.read(deployment.input_topic)
    return {(record.key or b"").decode(): record.value or b"" for record in records}


def test_job_events_of_openai_are_accepted_without_a_record(
    deployment: Deployment, ingest: Ingest
) -> None:
    """They carry no checkpoint. Unknown events of a known sender are accepted too."""
    before = values(deployment)
    for kind, outcome in (
        ("fine_tuning.job.succeeded", "job_ended"),
        ("fine_tuning.job.failed", "job_ended"),
        ("fine_tuning.job.cancelled", "job_ended"),
        ("batch.completed", "ignored"),
    ):
        event = {"object": "event", "id": "evt_1", "type": kind, "data": {"id": "ftjob_1"}}
        body = json.dumps(event).encode()
        assert send(ingest, "openai", body, signed(body)) == (
            202,
            {"accepted": 0, "event": outcome},
        )
    assert values(deployment) == before


def test_signatures_of_standard_webhooks(
    deployment: Deployment, ingest: Ingest, folder: Path
) -> None:
    """Wrong, old and missing ones are refused alike; a rotation needs no restart."""
    body = checkpoint("ftckpt_standard")
    refused = [
        {},
        signed(body, NEW_KEY),
        signed(body + b" "),
        signed(body, at=time.time() - 400),
        signed(body, at=time.time() + 400),
        signed(body) | {"webhook-signature": "v1"},
        signed(body) | {"webhook-signature": "\xff,\xfe"},
        signed(body) | {"webhook-timestamp": "soon"},
    ]
    answers = [send(ingest, "openai", body, headers) for headers in refused]
    assert [status for status, _ in answers] == [401] * len(refused)
    assert all(answer == answers[0] for answer in answers)
    assert "ftckpt_standard" not in values(deployment)

    assert send(ingest, "openai", body, signed(body)) == (202, {"accepted": 1})
    assert values(deployment)["ftckpt_standard"] == body
    both = b"whsec_" + base64.b64encode(NEW_KEY) + b"\nwhsec_" + base64.b64encode(KEY)
    (folder / "new").write_bytes(both)
    (folder / "new").replace(folder / "openai")
    for key in (KEY, NEW_KEY):
        assert send(ingest, "openai", body, signed(body, key))[0] == 202


def test_signatures_with_a_private_key(
    deployment: Deployment, ingest: Ingest, folder: Path
) -> None:
    """They are accepted where the public key is known; so is a signature with the secret."""
    body = checkpoint("ftckpt_public")
    headers = signed_with_private_key(body, folder)
    assert send(ingest, "public", body, headers) == (202, {"accepted": 1})
    assert send(ingest, "public", body, signed(body)) == (202, {"accepted": 1})
    assert send(ingest, "public", body + b" ", headers)[0] == 401
    assert send(ingest, "openai", body, headers)[0] == 401
    public = (folder / "public").read_bytes().removeprefix(b"whpk_")
    assert send(ingest, "public", body, signed(body, base64.b64decode(public)))[0] == 401
    assert values(deployment)["ftckpt_public"] == body


def test_a_model_registry_is_mapped_to_a_checkpoint(deployment: Deployment, ingest: Ingest) -> None:
    """The same body gives the same record; other events are ignored; an incomplete one is 422."""

    def deliver(document: object) -> tuple[int, object]:
        body = json.dumps(document).encode()
        now = str(int(time.time()))
        content = b"d-1." + now.encode() + b"." + body
        digest = hmac.new(PLAIN.encode(), content, hashlib.sha256).digest()
        headers = {
            "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}",
            "X-MLflow-Delivery-Id": "d-1",
            "X-MLflow-Timestamp": now,
        }
        return send(ingest, "mlflow", body, headers)

    assert deliver(REGISTERED) == (202, {"accepted": 1})
    first = values(deployment)["mlflow-llama-7"]
    assert json.loads(first) == {
        "id": "mlflow-llama-7",
        "object": "fine_tuning.job.checkpoint",
        "created_at": 1_795_773_600,
        "fine_tuned_model_checkpoint": "s3://models/llama/7",
        "fine_tuning_job_id": "run-1",
        "metrics": {"train_loss": 0.25},
        "step_number": 7,
        "provider": "mlflow",
    }
    assert deliver(REGISTERED) == (202, {"accepted": 1})
    assert values(deployment)["mlflow-llama-7"] == first
    assert deliver(REGISTERED | {"action": "deleted"}) == (202, {"accepted": 0, "event": "ignored"})
    assert deliver(REGISTERED | {"data": {}})[0] == 422
    assert deliver([])[0] == 202
    assert send(ingest, "mlflow", b"{}", {})[0] == 401


def test_a_webhook_with_a_token_holds_checkpoints(deployment: Deployment, ingest: Ingest) -> None:
    """A template of the sender can be written as a checkpoint."""
    body = checkpoint("ftckpt_wandb")
    right = {"Authorization": "Bearer a-token-of-wandb-012345"}
    assert send(ingest, "wandb", body, {"Authorization": "Bearer wrong"})[0] == 401
    assert send(ingest, "wandb", body, right) == (202, {"accepted": 1})
    assert values(deployment)["ftckpt_wandb"] == body
