"""Three SDKs write the input of the service and read its ready events, on a real broker.

Two groups get the same checkpoints. The first one gets them in the CloudEvents of the SDKs and
publishes in structured mode. The second one gets them bare and publishes in binary mode. So equal
events show both directions, in both modes.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.cloudevents.sdks import (
    JSON_TYPE,
    SDKS,
    Event,
    Header,
    Mode,
    NewEvent,
    Sdk,
    WireRecord,
    write_by_python,
)
from tests.support.deployment import Deployment
from tests.support.documents import checkpoint, compact, envelope
from tests.support.records import NewRecord
from tests.support.topics import Names
from tests.support.verdicts import document, wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.cluster import Cluster
    from tests.support.reader import Record

MODES: Final[tuple[Mode, Mode]] = ("structured", "binary")
CONTENT_TYPES: Final = {
    "object": (None, JSON_TYPE, f"{JSON_TYPE}; charset=utf-8"),
    "text": (None, JSON_TYPE, "text/plain"),
    "bytes": (None, JSON_TYPE, "application/octet-stream"),
}
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REPLAY: Final = "again"
BATCH_TYPE: Final = b"application/cloudevents-batch+json"
BATCH: Final = compact([envelope(checkpoint(id="in-a-batch"))])
NOT_SERIALIZED: Final = b"[object Object]"
SERIALIZED_TWICE: Final = json.dumps(json.dumps(checkpoint(id="twice"))).encode()
ATTRIBUTES: Final = {
    "source": "/poller",
    "type": "fine_tuning.job.checkpoint",
    "time": "2024-07-23T20:01:07Z",
}
# The SDK for Python writes an object with a content type other than JSON as its repr.
(REPR,) = write_by_python(
    [
        NewEvent(
            "structured",
            "object",
            {**ATTRIBUTES, "id": "repr", "datacontenttype": "text/plain"},
            compact(checkpoint(id="repr")),
        )
    ]
)
# What an SDK or its user may write, but the service refuses; and a part of the message.
REFUSED: Final[dict[bytes, tuple[Sequence[Header], str]]] = {
    BATCH: ([("content-type", BATCH_TYPE)], "send each event as a separate record"),
    BATCH + b" ": ([("Content-Type", BATCH_TYPE + b"; charset=utf-8")], "a batch of CloudEvents"),
    NOT_SERIALIZED: ([("ce_specversion", b"1.0")], "encode it with JSON.stringify"),
    SERIALIZED_TWICE: ([("ce_specversion", b"1.0")], "JSON encoded twice"),
    REPR.value or b"": (REPR.headers, "encode it with json.dumps"),
}


class Published(NamedTuple):
    """The ready events of both groups by their mode, live and replayed, and the dead letters."""

    live: dict[Mode, list[Record]]
    replayed: dict[Mode, list[Record]]
    dead_letters: dict[bytes, Record]


def new_events(sdk: Sdk) -> list[NewEvent]:
    """Return events with checkpoints, in each mode and form of the data and each content type."""
    events: list[NewEvent] = []
    for mode in MODES:
        for form in sdk.forms:
            for content_type in CONTENT_TYPES[form]:
                number = len(events)
                attributes = {
                    **ATTRIBUTES,
                    "id": f"event-{number}",
                    "partitionkey": f"key-{number % 3}",
                    "traceparent": TRACE,
                }
                if content_type is not None:
                    attributes["datacontenttype"] = content_type
                source = checkpoint(id=f"{sdk.name}-{number}", note="Zoë 😀")
                events.append(NewEvent(mode, form, attributes, compact(source)))
    return events


@pytest.fixture(scope="module")
def published(cluster: Cluster) -> Published:
    """Both groups have handled all records, have ended, and their events were replayed."""
    wrapped: list[WireRecord] = []
    bare: list[bytes] = []
    for sdk in SDKS:
        events = new_events(sdk)
        wrapped += sdk.write(events)
        bare += [event.data for event in events]
    inputs: dict[Mode, list[NewRecord]] = {
        "structured": [
            *(NewRecord(record.value, record.key, -1, record.headers) for record in wrapped),
            *(NewRecord(value, None, -1, headers) for value, (headers, _) in REFUSED.items()),
        ],
        "binary": [
            NewRecord(value, b"key", -1, [("traceparent", TRACE.encode())]) for value in bare
        ],
    }
    found = Published({}, {}, {})
    for mode, records in inputs.items():
        names = Names(f"sdks-{mode}-{uuid.uuid4().hex[:8]}")
        with Deployment(cluster, names, CLOUDEVENTS_MODE=mode) as deployment:
            cluster.produce(deployment.input_topic, records)
            service = deployment.start()
            wait_until_handled(cluster, names)
            assert service.terminate() == 0
            assert deployment.run("replay", "--name", REPLAY, "--execute").exit_code == 0
            found.live[mode] = cluster.read(deployment.ready_topic)
            found.replayed[mode] = cluster.read(f"{deployment.ready_topic}.replay")
            letters = cluster.read(deployment.dead_letter_topic)
            found.dead_letters.update({letter.value or b"": letter for letter in letters})
    return found


def read_by_hand(record: Record, mode: Mode) -> Event:
    """Return the event in a record, by the specification alone."""
    if mode == "structured":
        attributes = document(record)
        data = attributes.pop("data")
    else:
        headers = {name: (content or b"").decode() for name, content in record.headers}
        attributes = {n.removeprefix("ce_"): c for n, c in headers.items() if n.startswith("ce_")}
        attributes["datacontenttype"] = headers["content-type"]
        data = document(record)
    attributes["time"] = attributes["time"].replace("Z", "+00:00")
    return Event(attributes, data)


def by_id(events: Sequence[Event]) -> dict[str, Event]:
    """Return the events by their ids, which must be distinct."""
    found = {event.attributes["id"]: event for event in events}
    assert len(found) == len(events)
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_each_sdk_reads_every_attribute_and_the_data(
    published: Published, sdk: Sdk, mode: Mode
) -> None:
    """Of live and of replayed events, extension attributes too. No SDK adds or loses anything."""
    records = [*published.live[mode], *published.replayed[mode]]
    events = sdk.read([WireRecord(one.key, one.value, one.headers) for one in records])
    assert events == [read_by_hand(record, mode) for record in records]
    live, replayed = events[: len(published.live[mode])], events[len(published.live[mode]) :]
    assert len(live) == len(replayed) == sum(len(new_events(each)) for each in SDKS)
    assert all(event.attributes["partitionkey"] == "ftjob-abc123" for event in events)
    assert not any("replayid" in event.attributes for event in live)
    assert all(event.attributes["replayid"] == REPLAY for event in replayed)


def test_a_wrapped_checkpoint_gives_the_event_of_the_bare_one(published: Published) -> None:
    """In each mode and form of each SDK, except for the origin."""
    wrapped = by_id([read_by_hand(one, "structured") for one in published.live["structured"]])
    bare = by_id([read_by_hand(one, "binary") for one in published.live["binary"]])
    expected = {json.loads(event.data)["id"] for sdk in SDKS for event in new_events(sdk)}
    assert wrapped.keys() == bare.keys() == expected
    for event_id, event in wrapped.items():
        assert _without_origin(event) == _without_origin(bare[event_id]), event_id


@pytest.mark.parametrize("mode", MODES)
def test_the_trace_of_a_source_event_is_a_header(published: Published, mode: Mode) -> None:
    """An SDK writes it as an attribute in the envelope or as `ce_traceparent`."""
    for record in [*published.live[mode], *published.replayed[mode]]:
        assert record.header("traceparent") == TRACE.encode(), record.place


def test_what_is_refused_is_explained(published: Published) -> None:
    """A batch of events, and data that was not serialized once. There is no other dead letter."""
    assert published.dead_letters.keys() == REFUSED.keys()
    for value, (_, words) in REFUSED.items():
        message = published.dead_letters[value].header("__connect.errors.exception.message")
        assert words in (message or b"").decode()


def _without_origin(event: Event) -> tuple[dict[str, str], dict[str, Any]]:
    data = {name: found for name, found in event.data.items() if name != "origin"}
    assert len(data) == len(event.data) - 1
    return event.attributes, data
