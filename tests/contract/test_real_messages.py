"""Messages of a running service are valid by its own schemas, and generated types read them.

The service runs in both content modes. A validator, a generator of Python models and a generator of
TypeScript types of other projects read what it wrote, from the files in `schemas/`.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dev.free_ports import free_ports
from tests.builders import camel, checkpoint
from tests.contract.tools import SCHEMAS, Failed, NodeFolder, generate_models, run_python
from tests.support.deployment import Deployment
from tests.support.http_client import Answer, ask
from tests.support.records import NewRecord
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.reader import Record

FILTERED = "--all-subscribers-filter-by-type"
SCHEMAS_OF = {
    "structured": {"ready-event", "ready-event-structured-headers", "check-event"},
    "binary": {
        "ready-event-data",
        "ready-event-headers",
        "check-event-data",
        "check-event-headers",
    },
}
TRACE = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
SCHEMA_ID = "__value_schema_id"  # the one header that is not text
GUID = "89791762-2336-4186-9674-299b90a802e2"
REPLAY = "for-contract"
CHECKPOINTS = (
    checkpoint(id="usual"),
    camel(checkpoint(id="in camel case")),
    checkpoint(id="ä/b c", fine_tuning_job_id="ä/b c", extra={"kept": [None, 1]}),
    checkpoint(
        id="nothing", metrics={}, fine_tuned_model_checkpoint="", created_at=-62_135_596_800
    ),
    checkpoint(id="azure", fine_tuned_model_checkpoint=f"gpt-4o.ft-{'0' * 32}:ckpt-step-90"),
    checkpoint(id="path", fine_tuned_model_checkpoint="/data/outputs/checkpoint-500"),
    checkpoint(id="provider", provider="own", base_model="a/b", uri="s3://b/7", expires_at=1),
    checkpoint(id="nulls", provider=None, base_model=None, uri=None, expires_at=None),
    checkpoint(id="large", step_number=2**53 - 1, metrics={"train_loss": 1e300, "step": 0.5}),
)
# Of wrong-field.ts: a field that an event does not have, and one that may be absent.
WRONG_PLACES = ["wrong-field.ts(5,11)", "wrong-field.ts(5,43)"]
INVALID = (
    b"{",
    None,
    json.dumps(checkpoint(id=...)).encode(),
    json.dumps({"object": "x"}).encode(),
)


class Wire(NamedTuple):
    """What a service wrote, and what it served over HTTP."""

    mode: str
    events: list[Record]
    dead_letters: list[Record]
    replayed: list[Record]
    checks: list[Record]
    served: dict[str, Answer]
    unknown: Answer
    """The answer to a request for a version that does not exist."""
    dataschema: str


@pytest.fixture(scope="module", params=["structured", "binary"])
def wire(request: pytest.FixtureRequest, cluster: Cluster) -> Wire:
    """Return the messages of a service in one content mode."""
    mode: str = request.param
    port = free_ports(1)[0]
    dataschema = f"http://127.0.0.1:{port}/schemas/ready-event-data/1"
    names = Names(f"contract-{mode}-{uuid.uuid4().hex[:8]}")
    records = [NewRecord(json.dumps(one).encode(), b"k", headers=TRACE) for one in CHECKPOINTS]
    records += [NewRecord(value, b"k") for value in INVALID]
    with Deployment(cluster, names, CLOUDEVENTS_MODE=mode, DATASCHEMA=dataschema) as deployment:
        service = deployment.start(HTTP_PORT=port)
        cluster.produce(deployment.input_topic, records)
        with cluster.subscriber(deployment.ready_topic) as subscriber:
            events = list(subscriber.wait_for(len(CHECKPOINTS)))
        with cluster.subscriber(deployment.dead_letter_topic) as subscriber:
            dead_letters = list(subscriber.wait_for(len(INVALID)))
        served = {
            path: ask(port, path)
            for path in (
                "/asyncapi.json",
                *(f"/schemas/{file.stem}/1" for file in SCHEMAS.glob("*.json")),
            )
        }
        unknown = ask(port, "/schemas/ready-event/2")
        replay = deployment.run("replay", "--name", REPLAY, "--execute")
        assert replay.exit_code == 0, replay.stderr
        replayed = cluster.read(f"{deployment.ready_topic}.replay")
        live_ends = cluster.end_offsets(deployment.ready_topic)
        check = deployment.run("subscribers", "check", "--committed", FILTERED)
        assert check.exit_code == 0, check.stderr
        checks = [
            record
            for record in cluster.read(deployment.ready_topic)
            if record.offset >= live_ends[record.partition]
        ]
        assert service.terminate() == 0
    return Wire(mode, events, dead_letters, replayed, checks, served, unknown, dataschema)


class Part(NamedTuple):
    """A value or the headers of a message, with the name of the schema for it."""

    schema: str
    value: Any


def parts(wire: Wire) -> Iterator[Part]:
    """Yield the values and headers of all messages."""
    for event in (*wire.events, *wire.replayed):
        value = json.loads(event.value or b"")
        if wire.mode == "structured":
            yield Part("ready-event", value)
            yield Part("ready-event-structured-headers", texts(event))
        else:
            yield Part("ready-event-data", value)
            yield Part("ready-event-headers", texts(event))
    for check in wire.checks:
        value = json.loads(check.value or b"")
        if wire.mode == "structured":
            yield Part("check-event", value)
        else:
            yield Part("check-event-data", value)
            yield Part("check-event-headers", texts(check))
    for letter in wire.dead_letters:
        yield Part("dead-letter-headers", texts(letter))


def texts(record: Record) -> dict[str, str]:
    """Return the headers as text."""
    return {
        name: (base64.b64encode(value or b"") if name == SCHEMA_ID else value or b"").decode()
        for name, value in record.headers
    }


def schema(name: str) -> dict[str, Any]:
    """Return the checked-in schema."""
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return document


def test_every_message_is_valid(wire: Wire) -> None:
    """By an independent validator with format checks, which finds planted errors."""
    found = list(parts(wire))
    assert {part.schema for part in found} == {"dead-letter-headers", *SCHEMAS_OF[wire.mode]}
    assert len(wire.dead_letters) == len(INVALID)
    assert wire.checks
    assert len(wire.replayed) == len(wire.events) == len(CHECKPOINTS)
    tasks = [{"schema": schema(part.schema), "value": part.value} for part in found]
    assert run_python("validate.py", lines=tasks) == [[] for _ in tasks]


def test_a_planted_error_is_found(wire: Wire) -> None:
    """The schemas are not so wide that any message passes, and formats are checked."""
    first = {part.schema: part.value for part in parts(wire)}
    wrong: list[Part] = []
    if wire.mode == "structured":
        event = first["ready-event"]
        wrong += [
            Part("ready-event", {**event, **change})
            for change in (
                {"time": "yesterday"},
                {"source": "/a b"},
                {"dataschema": "not absolute"},
                {"type": "other"},
                {"id": ""},
                {"replayid": "a/b"},
                {"data": {**event["data"], "origin": {}}},
            )
        ]
    else:
        headers = first["ready-event-headers"]
        wrong += [
            Part("ready-event-headers", {**headers, "ce_time": "2024-13-01T00:00:00Z"}),
            Part("ready-event-headers", {**headers, "content-type": "text/plain"}),
            Part("ready-event-data", {**first["ready-event-data"], "model": None}),
        ]
    letter = first["dead-letter-headers"]
    wrong.append(Part("dead-letter-headers", {**letter, "checkpoint-ready.reason": "unlucky"}))
    tasks = [{"schema": schema(part.schema), "value": part.value} for part in wrong]
    assert all(run_python("validate.py", lines=tasks))


def test_the_fetched_schema_is_that_of_data(wire: Wire) -> None:
    """CloudEvents defines `dataschema` as the schema of `data`, not of the whole event."""
    path = wire.dataschema[wire.dataschema.index("/schemas/") :]
    fetched = json.loads(wire.served[path].text)
    values = [json.loads(event.value or b"") for event in wire.events]
    data = [value["data"] if wire.mode == "structured" else value for value in values]
    assert run_python("validate.py", lines=[{"schema": fetched, "value": one} for one in data]) == [
        [] for _ in data
    ]


def test_the_address_in_the_event_leads_to_its_schema(wire: Wire) -> None:
    """`dataschema` is the setting, and the service serves the checked-in schemas."""
    attribute = "dataschema" if wire.mode == "structured" else "ce_dataschema"
    of_attributes = [
        part.value for part in parts(wire) if attribute in schema(part.schema)["properties"]
    ]
    assert {attributes[attribute] for attributes in of_attributes} == {wire.dataschema}
    assert wire.dataschema.endswith("/schemas/ready-event-data/1")
    assert len(wire.served) == 1 + len(list(SCHEMAS.glob("*.json")))
    assert wire.unknown.status == 404
    for path, answer in wire.served.items():
        assert answer.status == 200, path
        if path == "/asyncapi.json":
            assert answer.headers["content-type"] == "application/json"
            assert json.loads(answer.text)["asyncapi"] == "3.1.0"
        else:
            assert answer.headers["content-type"] == "application/schema+json"
            assert json.loads(answer.text) == schema(path.split("/")[2])


def test_generated_python_models_decode_every_message(wire: Wire, tmp_path: Path) -> None:
    """The models of datamodel-code-generator (pydantic) lose nothing and refuse a wrong message."""
    found = list(parts(wire))
    generate_models(tmp_path, {part.schema for part in found})
    tasks = [
        {
            "module": part.schema.replace("-", "_"),
            "model": schema(part.schema)["title"],
            "value": part.value,
        }
        for part in found
    ]
    decoded = run_python("decode.py", str(tmp_path), lines=tasks)
    assert decoded == [part.value for part in found]
    with pytest.raises(Failed, match="validation error"):
        run_python("decode.py", str(tmp_path), lines=[{**tasks[0], "value": {}}])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeFolder:
    """Return a folder with the compiled program of a TypeScript subscriber, and its types.

    The types of the program are right. Those of the other program are wrong in two places.
    """
    node = NodeFolder(tmp_path_factory.mktemp("typescript"))
    names = ("ready-event", "ready-event-headers", "dead-letter-headers")
    node.run("generate-types.mjs", str(SCHEMAS), *names)
    errors = node.compile("read-messages.ts", "wrong-field.ts")
    assert [line.partition(": error ")[0] for line in errors] == WRONG_PLACES, errors
    return node


def test_generated_typescript_types_read_every_message(wire: Wire, node: NodeFolder) -> None:
    """The types of json-schema-to-typescript compile with all strict checks."""
    messages: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    for event in (*wire.events, *wire.replayed):
        value, headers = json.loads(event.value or b""), texts(event)
        if wire.mode == "structured":
            messages.append({"kind": "ready-event", "value": value})
            attributes, data, replay = value, value["data"], value.get("replayid")
        else:
            messages.append({"kind": "ready-event-binary", "headers": headers, "value": value})
            attributes = {name.removeprefix("ce_"): text for name, text in headers.items()}
            data, replay = value, None
        expected.append(
            {
                "id": attributes["id"],
                "source": attributes["source"],
                "provider": data["model"]["provider"],
                "loss": data["evaluation"].get("loss"),
                "step": data["checkpoint"]["step_number"],
                "uri": data["checkpoint"].get("uri"),
                "trainLoss": data["checkpoint"]["metrics"].get("train_loss"),
                "offset": data["origin"]["offset"],
                "replay": replay,
            }
        )
    for letter in wire.dead_letters:
        headers = texts(letter)
        messages.append({"kind": "dead-letter", "headers": headers})
        offset = int(headers["__connect.errors.offset"])
        expected.append({"reason": headers["checkpoint-ready.reason"], "offset": offset})
    file = node.folder / f"{wire.mode}.jsonl"
    file.write_text("".join(f"{json.dumps(message)}\n" for message in messages))
    assert node.run("read-messages.js", str(file)) == expected
