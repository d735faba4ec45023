"""The answer 422: which element, and why, in words for senders over HTTP."""

from __future__ import annotations

import json
import re

import pytest

from consumer.pipeline.decode import wrappings
from consumer.sources.problems import Refusal
from consumer.sources.request_elements import JSON, STRUCTURED, split_elements
from consumer.sources.validation import to_records
from consumer.sources.validation_messages import for_http
from tests.support.records import checkpoint

NDJSON = "application/x-ndjson"
OF_KAFKA = re.compile(r"record|producer|[Ss]erializer|[Cc]onverter=|transforms|parse.key|tombstone")
SENTENCES = [
    text
    for constant in vars(wrappings).values()
    for text in re.findall(r"[^\0]+", constant if isinstance(constant, str) else "")
    if ": " in text
]


async def refusals(body: bytes, content_type: str = JSON) -> list[dict[str, str]]:
    """Return what is invalid in a body; nothing if it is accepted."""
    try:
        await to_records(split_elements(content_type, {}, body, 100), (), 1_000_000)
    except Refusal as refusal:
        found: list[dict[str, str]] = refusal.document["invalid"]
        return found
    return []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b'{"object": "list", "data": null}', "this is a page of a list: send an array, or one"),
        (b'{"id": "a"}{"id": "b"}', "the value contains several JSON documents"),
        (b"{'id': 1}", "the value is the repr of a Python object: encode it with json.dumps"),
        (b"\x1f\x8b\x08", "the value is compressed by gzip"),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, NDJSON])
async def test_messages_are_for_http(body: bytes, message: str, content_type: str) -> None:
    """The sender knows neither records nor settings of Kafka clients."""
    (found,) = await refusals(body, content_type)
    assert found["message"].startswith(message)
    assert not OF_KAFKA.search(found["message"].partition("; ")[0])


def test_no_advice_is_for_kafka_clients() -> None:
    """It is so for every explanation of the pipeline."""
    assert len(SENTENCES) > 5
    for sentence in SENTENCES:
        shown = for_http(f"{sentence}; the error")
        assert shown.endswith("; the error")
        assert not OF_KAFKA.search(shown.partition(": ")[2]), shown


async def test_an_empty_array_is_accepted_in_each_form() -> None:
    """It holds no checkpoint, and is no error."""
    for body in (b"[]", b'{"object": "list", "data": []}', b"\xef\xbb\xbf[]"):
        assert await refusals(body) == []
        assert await refusals(body, NDJSON) == []
    assert await refusals(b"[]\n[]\n", NDJSON) == []
    assert await refusals(b"[]", "application/cloudevents-batch+json") == []


async def test_the_id_is_that_of_the_checkpoint() -> None:
    """A CloudEvent has an id of its own, which says nothing to the sender of a checkpoint."""
    broken = json.loads(checkpoint("ftckpt_1")) | {"created_at": "soon"}
    event = {"specversion": "1.0", "id": "evt", "source": "/a", "type": "t", "data": broken}
    for body, content_type in ((event, STRUCTURED), (broken, JSON)):
        (found,) = await refusals(json.dumps(body).encode(), content_type)
        assert found["id"] == "ftckpt_1"
    (found,) = await refusals(json.dumps(event | {"data": 7}).encode(), STRUCTURED)
    assert "id" not in found
