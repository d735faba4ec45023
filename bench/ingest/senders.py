"""Requests as senders make them, signed and complete, and the configuration that accepts them.

A signature is heavy for the Lua script of the load generator. So the requests are made before the
run. They have distinct ids. wrk sends them again when it has sent all, which the receiver does not
notice.
"""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.records import realistic_checkpoint

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
TOKEN: Final = "a-token-of-the-benchmark"  # noqa: S105 - it guards a receiver that runs for seconds
SECRET: Final = b"a-secret-key-of-the-benchmark-00"
SINGLE_REQUESTS: Final = 4000
BATCH_REQUESTS: Final = 40
CONFIGURATION: Final = """\
port = {port}
[checkpoints]
token_files = ["{folder}/token"]
[webhooks.standard]
kind = "standard-webhooks"
secret_files = ["{folder}/standard"]
[webhooks.hmac]
kind = "hmac-body"
secret_files = ["{folder}/hmac"]
header = "X-Signature-256"
prefix = "sha256="
[webhooks.mapped]
kind = "standard-webhooks"
secret_files = ["{folder}/standard"]
[webhooks.mapped.checkpoint]
when = {{ "/entity" = "model_version", "/action" = "created" }}
[webhooks.mapped.checkpoint.fields]
id = {{ template = "{{/data/name}}-{{/data/version}}" }}
created_at = {{ pointer = "/timestamp" }}
fine_tuning_job_id = {{ pointer = "/data/run_id" }}
fine_tuned_model_checkpoint = {{ pointer = "/data/source" }}
step_number = {{ pointer = "/data/version" }}
"""


class Sender(NamedTuple):
    """One kind of requests."""

    name: str
    checkpoints: int
    """Checkpoints in each request."""
    make: Callable[[int], bytes]
    """Makes the request with this number."""

    def requests(self) -> list[bytes]:
        """Return distinct requests. Their signatures are valid for some minutes."""
        count = SINGLE_REQUESTS if self.checkpoints == 1 else BATCH_REQUESTS
        return [self.make(number) for number in range(count)]


def write_configuration(folder: Path, port: int) -> Path:
    """Write the configuration of a receiver with its secrets, and return its path."""
    (folder / "token").write_text(TOKEN)
    (folder / "standard").write_bytes(b"whsec_" + base64.b64encode(SECRET))
    (folder / "hmac").write_bytes(SECRET)
    path = folder / "ingest.toml"
    path.write_text(CONFIGURATION.format(port=port, folder=folder))
    return path


def _checkpoints(number: int, count: int) -> list[bytes]:
    first = number * count
    return [realistic_checkpoint(f"ftckpt_{one:024d}", one) for one in range(first, first + count)]


def _request(path: str, body: bytes, content_type: str = JSON, **headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: bench",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _with_token(body: bytes, content_type: str = JSON) -> bytes:
    return _request("/v1/checkpoints", body, content_type, Authorization=f"Bearer {TOKEN}")


def _standard(path: str, number: int, body: bytes) -> bytes:
    now = str(int(time.time()))
    content = f"msg_{number}.{now}.".encode() + body
    signature = base64.b64encode(hmac.digest(SECRET, content, "sha256")).decode()
    return _request(
        path,
        body,
        webhook_id=f"msg_{number}",
        webhook_timestamp=now,
        webhook_signature=f"v1,{signature}",
    )


def _bearer(number: int) -> bytes:
    return _with_token(_checkpoints(number, 1)[0])


def _standard_webhook(number: int) -> bytes:
    return _standard("/v1/webhooks/standard", number, _checkpoints(number, 1)[0])


def _mapped_webhook(number: int) -> bytes:
    event = {
        "entity": "model_version",
        "action": "created",
        "timestamp": "2026-11-27T10:00:00+00:00",
        "data": {
            "name": f"model-{number:024d}",
            "version": "7",
            "source": f"s3://models/{number:024d}/7",
            "run_id": f"run-{number:024d}",
        },
    }
    return _standard("/v1/webhooks/mapped", number, json.dumps(event).encode())


def _hmac_webhook(number: int) -> bytes:
    body = _checkpoints(number, 1)[0]
    signature = hmac.digest(SECRET, body, "sha256").hex()
    return _request("/v1/webhooks/hmac", body, X_Signature_256=f"sha256={signature}")


def _array(count: int) -> Sender:
    return Sender(
        f"array of {count}",
        count,
        lambda number: _with_token(b"[" + b",".join(_checkpoints(number, count)) + b"]"),
    )


def _lines(count: int) -> Sender:
    return Sender(
        f"NDJSON of {count}",
        count,
        lambda number: _with_token(b"\n".join(_checkpoints(number, count)), LINES),
    )


SINGLE: Final = (
    Sender("bearer token", 1, _bearer),
    Sender("standard-webhooks", 1, _standard_webhook),
    Sender("standard-webhooks, mapped", 1, _mapped_webhook),
    Sender("hmac-body", 1, _hmac_webhook),
)
BATCHES: Final = (_array(500), _array(1000), _lines(500), _lines(1000))
SENDERS: Final = {sender.name: sender for sender in (*SINGLE, *BATCHES)}


def named(names: Iterable[str]) -> list[Sender]:
    """Return the senders with these names."""
    return [SENDERS[name] for name in names]
