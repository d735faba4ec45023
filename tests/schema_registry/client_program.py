"""Serializes and deserializes with Confluent's client of a schema registry, for JSON Schema.

It runs in an environment of its own (``requirements/schema-registry.txt``). The argument is the
address of the registry. With ``mock://`` the client itself keeps the schemas, in this process. Each
line of standard input is a JSON object with a `command`, and the answer is one line. Bytes are in
base64.
"""

import base64
import json
import sys
from typing import Any

from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    SchemaRegistryError,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
)
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

FRAMINGS = {"header": header_schema_id_serializer, "prefix": prefix_schema_id_serializer}
Request = dict[str, Any]


def main() -> None:
    """Answer each line."""
    client = SchemaRegistryClient.new_client({"url": sys.argv[1]})
    commands = {"register": register, "serialize": serialize, "deserialize": deserialize}
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(commands[request["command"]](client, request)), flush=True)  # noqa: T201 - the answer


def register(client: SchemaRegistryClient, request: Request) -> Request:
    """Register a schema and return its id and GUID."""
    schema = Schema(request["schema"], "JSON")
    registered = client.register_schema_full_response(request["subject"], schema)
    return {"id": registered.schema_id, "guid": registered.guid}


def serialize(client: SchemaRegistryClient, request: Request) -> Request:
    """Return value and headers of a document, with the schema id where `framing` puts it."""
    settings = {"schema.id.serializer": FRAMINGS[request["framing"]]}
    serializer = JSONSerializer(request["schema"], client, conf=settings)
    headers: list[Any] = []
    context = SerializationContext(request["topic"], MessageField.VALUE, headers)
    value = serializer(request["document"], context)
    return {"value": _text(value), "headers": [[name, _text(found)] for name, found in headers]}


def deserialize(client: SchemaRegistryClient, request: Request) -> Request:
    """Return the document in a value, or the error of the client."""
    deserializer = JSONDeserializer(None, schema_registry_client=client)
    headers: list[Any] = [(name, base64.b64decode(text)) for name, text in request["headers"]]
    context = SerializationContext(request["topic"], MessageField.VALUE, headers)
    try:
        return {"document": deserializer(base64.b64decode(request["value"]), context)}
    except (SerializationError, SchemaRegistryError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _text(content: bytes | None) -> str:
    return base64.b64encode(content or b"").decode()


if __name__ == "__main__":
    main()
