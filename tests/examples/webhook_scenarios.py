"""What every example that sends webhooks must do."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.examples.history import id_of
from tests.examples.scenarios import renamed
from tests.examples.webhook_receiver import WebhookReceiver
from tests.support.records import NewRecord
from tests.support.standard_webhooks import signature

if TYPE_CHECKING:
    from tests.examples.harness import Example, RunningExample
    from tests.examples.history import History
    from tests.examples.webhook_receiver import Received
    from tests.support.topics import Names

SECRET = b"0123456789abcdef01234567"
IDS = json.loads(Path(__file__).with_name("webhook_ids.json").read_text(encoding="utf-8"))
UNAVAILABLE = 503
GONE = 410


def assert_sends_signed_webhooks(
    example: Example, history: History, names: Names, folder: Path
) -> None:
    """Assert that each event is sent with a valid signature, again after a refusal, but once."""
    with (
        WebhookReceiver([UNAVAILABLE]) as receiver,
        _started(example, history, three_events(history, names), receiver, folder) as running,
    ):
        lines = running.wait_for_lines(3)
        assert running.stop_by() == 0
        assert SECRET.decode() not in running.errors
    ids = [line["id"] for line in lines]
    assert len(set(ids)) == 3
    assert [one.headers["webhook-id"] for one in receiver.received] == [ids[0], *ids]
    for one in receiver.received:
        assert one.headers["webhook-signature"] == _signature(one)
        event = json.loads(one.body)
        assert event["id"] == one.headers["webhook-id"]
        assert event["type"] == "fine_tuning.job.checkpoint.ready"
        assert event["data"]["checkpoint"]["object"] == "fine_tuning.job.checkpoint"


def assert_quotes_ids(example: Example, history: History, names: Names, folder: Path) -> None:
    """Assert that every id is sent, percent-encoded as in the other languages."""
    topic = names.topic("ids")
    history.cluster.create_topics({topic: 1})
    known = next(one for one in history.committed if one.header("ce_id") is None)
    history.cluster.produce(topic, [renamed(known, one["id"]) for one in IDS])
    with (
        WebhookReceiver([]) as receiver,
        _started(example, history, topic, receiver, folder) as running,
    ):
        running.wait_for_lines(len(IDS))
        assert running.stop_by() == 0
        assert running.ids == [one["id"] for one in IDS]
    sent = [one.headers["webhook-id"] for one in receiver.received]
    assert sent == [one["webhook_id"] for one in IDS]
    assert [one.headers["webhook-signature"] for one in receiver.received] == list(
        map(_signature, receiver.received)
    )


def assert_410_stops_webhooks(
    example: Example, history: History, names: Names, folder: Path
) -> None:
    """Assert that a receiver that answers 410 Gone gets no more events, and the lines continue."""
    with (
        WebhookReceiver([GONE]) as receiver,
        _started(example, history, three_events(history, names), receiver, folder) as running,
    ):
        running.wait_for_lines(3)
        assert running.stop_by() == 0
        assert str(GONE) in running.errors
    assert len(receiver.received) == 1


def _started(
    example: Example, history: History, topic: str, receiver: WebhookReceiver, folder: Path
) -> RunningExample:
    secret = folder / "secret"
    secret.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    return example.start(
        history.bootstrap_servers,
        topic,
        group=f"{topic}.group",
        WEBHOOK_URL=receiver.url,
        WEBHOOK_SECRET_FILE=str(secret),
    )


def _signature(received: Received) -> str:
    """Return the signature that the text of Standard Webhooks asks for."""
    headers = received.headers
    return signature(SECRET, headers["webhook-id"], headers["webhook-timestamp"], received.body)


def three_events(history: History, names: Names) -> str:
    """Write two events in structured mode and one in binary mode, and one of them twice.

    Returns:
        the topic.
    """
    topic = names.topic("webhooks")
    history.cluster.create_topics({topic: 1})
    structured = next(one for one in history.committed if one.header("ce_id") is None)
    binary = next(one for one in history.committed if one.header("ce_id") is not None)
    assert id_of(binary) not in {"first", "second"}
    again = renamed(structured, "first")
    copied = NewRecord(binary.value, binary.key, 0, binary.headers)
    history.cluster.produce(topic, [again, again, copied, renamed(structured, "second")])
    return topic
