"""Records with a schema id: those of Confluent's serializer come in, its deserializer reads ours.

The client keeps the schemas itself (``mock://``), so these tests show the bytes of records and not
the requests to a registry.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from schemas.checkpoint import Checkpoint
from schemas.ready_event import ReadyData, ReadyEvent
from tests.builders import batch, decide, record
from tests.schema_registry.client import RegistryClient
from tests.support.deployment import Deployment
from tests.support.documents import checkpoint
from tests.support.records import NewRecord, numbered_ids
from tests.support.topics import Names
from tests.support.verdicts import document, wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

HEADER: Final = "__value_schema_id"
GUID_FOLLOWS: Final = b"\x01"
ID_FOLLOWS: Final = b"\x00"
IDS: Final = numbered_ids(6)
REPLAY: Final = "again"


def json_schema(message: type) -> str:
    """Return the schema of a message, with the members that registries expect."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    schema = msgspec.json.schema(message) | {"$schema": dialect, "title": message.__name__}
    return json.dumps(schema)


SOURCE_SCHEMA: Final = json_schema(Checkpoint)
ANY_SCHEMA: Final = json_schema(dict)
# The value of a ready event in each mode.
VALUE_SCHEMAS: Final = {"structured": json_schema(ReadyEvent), "binary": json_schema(ReadyData)}


@pytest.fixture(scope="module")
def client() -> Iterator[RegistryClient]:
    """One client, so that all tests have the same schemas."""
    with RegistryClient() as running:
        yield running


@pytest.mark.parametrize("framing", ["header", "prefix"])
def test_a_serialized_checkpoint_gives_the_event_of_the_plain_one(
    client: RegistryClient, framing: str
) -> None:
    """With the schema id in a header the value is plain JSON, else it has a prefix."""
    source = checkpoint()
    value, headers = client.serialize(framing, "input", SOURCE_SCHEMA, source)
    if framing == "header":
        guid = uuid.UUID(client.register("input-value", SOURCE_SCHEMA))
        assert headers == [(HEADER, GUID_FOLLOWS + guid.bytes)]
        assert json.loads(value) == source
    else:
        assert not headers
        assert value.startswith(ID_FOLLOWS)
        assert json.loads(value[5:]) == source
    serialized = decide(batch(record(raw=value, headers=headers)))
    plain = decide(batch(record(source)))
    assert serialized.ready == plain.ready
    assert list(serialized.entries) == list(plain.entries)


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_deserializer_reads_ready_events_and_dead_letters(
    client: RegistryClient, cluster: Cluster, names: Names, mode: str
) -> None:
    """Live and replayed events have the header, a dead letter keeps the header of its source."""
    guid = client.register(f"ready-{mode}-value", VALUE_SCHEMAS[mode])
    invalid = checkpoint(id="invalid", object="fine_tuning.job")
    sources = [
        *(client.serialize("header", "input", SOURCE_SCHEMA, checkpoint(id=one)) for one in IDS),
        client.serialize("header", "jobs", ANY_SCHEMA, invalid),
    ]
    with Deployment(cluster, names, CLOUDEVENTS_MODE=mode, SCHEMA_GUID=guid.upper()) as deployment:
        records = [NewRecord(value, headers=headers) for value, headers in sources]
        cluster.produce(deployment.input_topic, records)
        service = deployment.start()
        wait_until_handled(cluster, names)
        assert service.terminate() == 0
        assert deployment.run("replay", "--name", REPLAY, "--execute").exit_code == 0
        live = cluster.read(deployment.ready_topic)
        replayed = cluster.read(f"{deployment.ready_topic}.replay")
        (letter,) = cluster.read(deployment.dead_letter_topic)
        assert deployment.run("dead-letters", "redrive", "--execute").exit_code == 0
        redriven = cluster.read(deployment.input_topic)

    assert len(live) == len(replayed) == len(IDS)
    for event in [*live, *replayed]:
        assert event.header(HEADER) == GUID_FOLLOWS + uuid.UUID(guid).bytes
        found = client.deserialize(event.topic, event.value, event.headers)
        assert found == document(event)
        assert _checkpoint(found)["id"] in IDS
    assert client.deserialize(letter.topic, letter.value, letter.headers) == invalid
    copies = [one for one in redriven if one.value == letter.value]
    assert len(copies) == 2
    assert len({one.header(HEADER) for one in [*copies, letter]}) == 1


def test_the_deserializer_needs_the_header_and_uses_it(client: RegistryClient) -> None:
    """Without the header it reads a prefix; an unknown GUID, and an event that does not match."""
    value = decide(batch(record(checkpoint()))).ready[0].value
    with pytest.raises(ValueError, match="magic byte"):
        client.deserialize("ready", value, [])
    with pytest.raises(ValueError, match="Not Found"):
        client.deserialize("ready", value, [(HEADER, GUID_FOLLOWS + uuid.uuid4().bytes)])
    source = client.register("input-value", SOURCE_SCHEMA)
    with pytest.raises(ValueError, match="required property"):
        client.deserialize("ready", value, [(HEADER, GUID_FOLLOWS + uuid.UUID(source).bytes)])


def _checkpoint(found: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = found.get("data", found)
    source: dict[str, Any] = data["checkpoint"]
    return source
