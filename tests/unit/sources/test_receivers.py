"""What a receiver finds in a body, and what a webhook triggers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from consumer.sources.ingest_config import Field, IngestConfig, Mapping, StandardWebhook
from consumer.sources.ingest_request import IngestRequest
from consumer.sources.problems import Refusal
from consumer.sources.receivers import make_receivers
from consumer.sources.validation import to_records
from tests.support.records import checkpoint
from tests.support.standard_webhooks import signed_headers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consumer.sources.receivers import Received

NOW = 1_795_773_600
KEY = b"0123456789abcdef"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Recorded:
    """A trigger that remembers its calls."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, str]] = []

    def job_ended(self, account: str, job_id: str) -> None:
        """Remember the job."""
        self.jobs.append((account, job_id))


def request(body: bytes, content_type: bytes = b"application/json") -> IngestRequest:
    """Return a signed request."""
    signed = signed_headers(body, KEY, "m", at=NOW)
    return IngestRequest(
        [
            (b"content-type", content_type),
            *((name.encode(), value.encode()) for name, value in signed.items()),
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
        ("", {"type": "batch.completed"}, "ignored", []),
        ("", {"type": "invoice.paid", "timestamp": "2026-11-27", "data": {}}, "ignored", []),
        ("", {"type": "t", "object": "event"}, "ignored", []),
        ("", {"type": 7}, None, []),
        ("", {"type": "t", "object": None}, None, []),
        ("", {"object": "fine_tuning.job.checkpoint", "type": "t"}, None, []),
        ("", {"id": "c", "type": "t", "step_number": 1}, None, []),
        ("", {"id": "c", "type": "fine_tuning.job.checkpoint"}, None, []),
        ("", {"specversion": "1.0", "type": "fine_tuning.job.failed"}, None, []),
    ],
)
def test_job_events_call_the_trigger(
    tmp_path: Path, account: str, event: object, outcome: str | None, jobs: object
) -> None:
    """Only the end of a job does, of a webhook with an account. Another body holds checkpoints."""
    trigger = Recorded()
    body = json.dumps(event).encode()
    receive = reader(tmp_path, trigger, account=account)
    received = receive(body)
    assert received.event == outcome
    assert [element.value for element in received.elements] == ([] if outcome else [body])
    assert trigger.jobs == jobs
    assert receive(BYTE_ORDER_MARK + body).event == outcome


def reader(
    tmp_path: Path, trigger: Recorded, *, account: str = "", checkpoint: Mapping | None = None
) -> Callable[..., Received]:
    """Return a function that receives a body at a webhook."""
    secret = tmp_path / "secret"
    secret.write_bytes(base64.b64encode(KEY))
    webhook = StandardWebhook(secret_files=(str(secret),), account=account, checkpoint=checkpoint)
    receivers = make_receivers(IngestConfig(webhooks={"a": webhook}), trigger, lambda: NOW)
    assert list(receivers) == ["/v1/webhooks/a"]
    receiver = receivers["/v1/webhooks/a"]

    def receive(body: bytes, content_type: bytes = b"application/json") -> Received:
        made = request(body, content_type)
        receiver.check_head(made)
        return receiver.read(made, body, 10)

    return receive


@pytest.mark.parametrize("begin", [b"", BYTE_ORDER_MARK])
async def test_a_webhook_holds_checkpoints_in_each_form(tmp_path: Path, begin: bytes) -> None:
    """As at `/v1/checkpoints`: also lines, and with a byte order mark."""
    receive = reader(tmp_path, Recorded())
    one, two = checkpoint("ftckpt_1"), checkpoint("ftckpt_2")
    for body, content_type in (
        (one + b"\n" + two, b"application/x-ndjson"),
        (b"[" + one + b"," + two + b"]", b"application/json"),
    ):
        received = receive(begin + body, content_type)
        records = await to_records(received.elements, (), 10_000)
        assert [record.value for record in records] == [one, two]
    records = await to_records(receive(begin + one).elements, (), 10_000)
    assert [record.value for record in records] == [one]


MAPPING = Mapping(
    fields={
        "id": Field(pointer="/name"),
        "created_at": Field(value=1),
        "fine_tuning_job_id": Field(value="j"),
        "fine_tuned_model_checkpoint": Field(pointer="/name"),
        "step_number": Field(value=1),
    },
    when={"/kind": "new"},
)


@pytest.mark.parametrize("mapping", [None, MAPPING])
@pytest.mark.parametrize("body", [b"", BYTE_ORDER_MARK, b"{", b"not JSON", b"[" * 100])
async def test_a_malformed_body_of_a_webhook_has_a_reason(
    tmp_path: Path, mapping: Mapping | None, body: bytes
) -> None:
    """As at `/v1/checkpoints`. So it is counted too."""
    received = reader(tmp_path, Recorded(), checkpoint=mapping)(body)
    assert received.event is None
    with pytest.raises(Refusal) as raised:
        await to_records(received.elements, (), 10_000)
    (found,) = raised.value.document["invalid"]
    assert found["index"] == 0
    assert found["reason"] == ("too_deep" if len(body) == 100 else "malformed_json")


async def test_a_mapping_maps_each_line(tmp_path: Path) -> None:
    """Lines that the mapping ignores are left out; without any other line the body is ignored."""
    receive = reader(tmp_path, Recorded(), checkpoint=MAPPING)
    new, old = b'{"kind": "new", "name": "%s"}', b'{"kind": "old"}'
    lines = b"\n".join((new % b"a", old, new % b"b"))
    received = receive(BYTE_ORDER_MARK + lines, b"application/x-ndjson")
    records = await to_records(received.elements, (), 10_000)
    assert [record.key for record in records] == [b"a", b"b"]
    assert receive(BYTE_ORDER_MARK + new % b"a").event is None
    assert receive(old).event == "ignored"
