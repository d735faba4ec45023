"""What a receiver finds in a body, and what a webhook triggers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

import pytest

from consumer.sources.ingest_config import IngestConfig, StandardWebhook
from consumer.sources.ingest_request import IngestRequest
from consumer.sources.receivers import make_receivers

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_773_600
KEY = b"0123456789abcdef"


class Recorded:
    """A trigger that remembers its calls."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, str]] = []

    def job_ended(self, account: str, job_id: str) -> None:
        """Remember the job."""
        self.jobs.append((account, job_id))


def request(body: bytes) -> IngestRequest:
    """Return a signed request."""
    content = b"m.%d." % NOW + body
    signature = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest())
    return IngestRequest(
        [
            (b"content-type", b"application/json"),
            (b"webhook-id", b"m"),
            (b"webhook-timestamp", b"%d" % NOW),
            (b"webhook-signature", b"v1," + signature),
        ]
    )


@pytest.mark.parametrize(
    ("account", "event", "outcome", "jobs"),
    [
        ("", {"type": "fine_tuning.job.succeeded", "data": {"id": "j"}}, "job_ended", []),
        ("x", {"type": "fine_tuning.job.failed", "data": {"id": "j"}}, "job_ended", [("x", "j")]),
        ("x", {"type": "fine_tuning.job.failed", "data": {"id": 7}}, "ignored", []),
        ("x", {"type": "fine_tuning.job.failed", "data": {"id": ".."}}, "ignored", []),
        ("", {"type": "fine_tuning.job.failed", "data": None}, "ignored", []),
        ("", {"type": "eval.run.failed", "data": {"id": "j"}, "object": "event"}, "ignored", []),
        ("", {"type": 7}, None, []),
        ("", {"object": "fine_tuning.job.checkpoint", "type": "t"}, None, []),
        ("", {"specversion": "1.0", "type": "fine_tuning.job.failed"}, None, []),
    ],
)
def test_job_events_call_the_trigger(
    tmp_path: Path, account: str, event: object, outcome: str | None, jobs: object
) -> None:
    """Only the end of a job does, of a webhook with an account. Another body holds checkpoints."""
    secret = tmp_path / "secret"
    secret.write_bytes(base64.b64encode(KEY))
    webhook = StandardWebhook(secret_files=(str(secret),), account=account)
    trigger = Recorded()
    receivers = make_receivers(IngestConfig(webhooks={"a": webhook}), trigger, lambda: NOW)
    assert list(receivers) == ["/v1/webhooks/a"]
    body = json.dumps(event).encode()
    received = receivers["/v1/webhooks/a"].read(request(body), body, 10)
    assert received.event == outcome
    assert [element.value for element in received.elements] == ([] if outcome else [body])
    assert trigger.jobs == jobs
