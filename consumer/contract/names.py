"""The names, versions and addresses of the schemas.

The HTTP server needs them at its start. It builds a schema only when a client asks for it.
"""

from typing import Final

VERSIONS: Final = {
    "checkpoint": 1,
    "checkpoint-sdk": 1,
    "ready-event": 1,
    "ready-event-data": 1,
    "ready-event-headers": 1,
    "ready-event-structured-headers": 1,
    "check-event": 1,
    "check-event-data": 1,
    "check-event-headers": 1,
    "dead-letter-headers": 1,
}
"""The version of each schema by its name. docs/compatibility.md says when it changes."""
SCHEMA_CONTENT_TYPE: Final = "application/schema+json"
ASYNCAPI: Final = "asyncapi"
ASYNCAPI_PATH: Final = "/asyncapi.json"
ASYNCAPI_CONTENT_TYPE: Final = "application/json"


def schema_id(name: str) -> str:
    """Return the `$id` of a schema."""
    return f"urn:checkpoint-ready:schema:{name}:{VERSIONS[name]}"


def schema_path(name: str) -> str:
    """Return the path at which the service serves a schema."""
    return f"/schemas/{name}/{VERSIONS[name]}"
