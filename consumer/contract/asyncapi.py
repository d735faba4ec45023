"""The AsyncAPI 3.1 document: topics, messages, operations and ways to log in.

The operations are those of this service: it receives checkpoints and sends the rest. The document
uses the schemas of `messages`, without keywords that only JSON Schema 2020-12 has.
"""

from typing import Any, Final

from consumer.config import VARIABLES, Settings
from consumer.contract import samples
from consumer.contract.messages import definitions
from consumer.contract.samples import SampleMessage
from schemas.ready_event import DATA_CONTENT_TYPE, EVENT_CONTENT_TYPE

VERSION: Final = "1.0.0"
"""Version of the contract: major (see docs/compatibility.md), additions, corrections."""

Part = dict[str, Any]

_KAFKA_BINDING: Final = {"bindingVersion": "0.5.0"}
_SCHEMAS: Final = "#/components/schemas/"
_JOB_KEY: Final[Part] = {"type": "string", "description": "Id of the fine-tuning job."}
_ANY_BYTES: Final[Part] = {"type": ["string", "null"], "format": "binary"}
_SECURITY_SCHEMES: Final[Part] = {
    "plain": {"type": "plain", "description": "SASL PLAIN."},
    "scramSha256": {"type": "scramSha256", "description": "SASL SCRAM-SHA-256."},
    "scramSha512": {"type": "scramSha512", "description": "SASL SCRAM-SHA-512."},
    "clientCertificate": {"type": "X509", "description": "A client certificate, for mutual TLS."},
}
_PASSWORD_SCHEMES: Final = ("plain", "scramSha256", "scramSha512")


def asyncapi_document(settings: Settings) -> Part:
    """Return the document with the topics and the group of these settings."""
    return {
        "asyncapi": "3.1.0",
        "id": "urn:checkpoint-ready",
        "info": {
            "title": "checkpoint-ready",
            "version": VERSION,
            "description": (
                "Reads fine-tuning checkpoints, and publishes each id exactly once as a ready "
                "event (CloudEvents 1.0). Read with isolation.level=read_committed."
            ),
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
            "tags": [{"name": "fine-tuning", "description": "Checkpoints of fine-tuning jobs."}],
        },
        "defaultContentType": DATA_CONTENT_TYPE,
        "servers": _servers(),
        "channels": _channels(settings),
        "operations": _operations(settings),
        "components": {
            "schemas": definitions(_SCHEMAS),
            "messages": _messages(),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _servers() -> Part:
    """Return one server for each value of SECURITY_PROTOCOL."""
    return {
        "plaintext": _server("kafka", "PLAINTEXT: no encryption and no login."),
        "tls": _server(
            "kafka-secure",
            "SSL: TLS. A client certificate is needed only if the brokers require it.",
            "clientCertificate",
        ),
        "saslPlaintext": _server(
            "kafka", "SASL_PLAINTEXT: a login, no encryption.", *_PASSWORD_SCHEMES
        ),
        "saslTls": _server("kafka-secure", "SASL_SSL: TLS and a login.", *_PASSWORD_SCHEMES),
    }


def _server(protocol: str, description: str, *schemes: str) -> Part:
    defaults = {variable.short_name: variable.default for variable in VARIABLES}
    server: Part = {
        # The addresses of the brokers in use are not in the document, because anyone may fetch it.
        "host": "{bootstrapServer}",
        "protocol": protocol,
        "description": description,
        "variables": {
            "bootstrapServer": {
                "default": defaults["BOOTSTRAP_SERVERS"],
                "description": "Bootstrap server of Kafka, host:port.",
            }
        },
    }
    if schemes:
        server["security"] = [{"$ref": f"#/components/securitySchemes/{one}"} for one in schemes]
    return server


def _input_channels(settings: Settings) -> dict[str, str]:
    """Return the input topics by the names of their channels."""
    names = ["checkpoints", *(f"checkpoints{n}" for n in range(2, len(settings.input_topics) + 1))]
    return dict(zip(names, settings.input_topics, strict=True))


def _channels(settings: Settings) -> Part:
    checkpoints = ("checkpoint", "checkpointSdk")
    events = ("readyEvent", "readyEventBinary")
    checks = ("checkEvent", "checkEventBinary")
    inputs = {
        name: _channel(topic, "Checkpoints from producers, with repetitions.", *checkpoints)
        for name, topic in _input_channels(settings).items()
    }
    return {
        **inputs,
        "ready": _channel(
            settings.output_topic,
            "One ready event for each id of a checkpoint. Check events announce no checkpoint.",
            *events,
            *checks,
        ),
        "deadLetters": _channel(
            settings.dead_letter_topic, "Records that could not be published.", "deadLetter"
        ),
        "replay": _channel(
            settings.replay_topic,
            "Ready events that a replay published again. Each has the attribute `replayid`.",
            *events,
        ),
    }


def _channel(topic: str, description: str, *messages: str) -> Part:
    return {
        "address": topic,
        "description": description,
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
        "bindings": {"kafka": {"topic": topic, **_KAFKA_BINDING}},
    }


def _operations(settings: Settings) -> Part:
    group = {"groupId": {"type": "string", "const": settings.group_id}, **_KAFKA_BINDING}
    receiving = {
        f"receive{name[0].upper()}{name[1:]}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "title": "Receive checkpoints",
            "summary": "The service reads every record, and deduplicates by id.",
            "bindings": {"kafka": group},
            "messages": [
                {"$ref": f"#/channels/{name}/messages/{one}"}
                for one in ("checkpoint", "checkpointSdk")
            ],
        }
        for name in _input_channels(settings)
    }
    return {
        **receiving,
        "sendReadyEvent": _send(
            "ready",
            "Send a ready event",
            "CLOUDEVENTS_MODE chooses one of the two messages for all events.",
            "readyEvent",
            "readyEventBinary",
        ),
        "sendCheckEvent": _send(
            "ready",
            "Send a check event",
            "Only the command `subscribers check` does this. Subscribers ignore the event.",
            "checkEvent",
            "checkEventBinary",
        ),
        "sendDeadLetter": _send(
            "deadLetters",
            "Send a dead letter",
            "The source record byte for byte, with headers that say why it is here.",
            "deadLetter",
        ),
        "sendReplayedEvent": _send(
            "replay",
            "Send a ready event again",
            "Only the command `replay` does this.",
            "readyEvent",
            "readyEventBinary",
        ),
    }


def _send(channel: str, title: str, summary: str, *messages: str) -> Part:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "title": title,
        "summary": summary,
        # It sends in transactions, and has no client id of its own.
        "bindings": {"kafka": {**_KAFKA_BINDING}},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{one}"} for one in messages],
    }


def _messages() -> Part:
    any_key = {**_ANY_BYTES, "description": "Any key: the service does not read it."}
    check_key = {"type": "string", "description": "Id of the check."}
    structured, binary = (samples.ready_event(binary_mode=mode) for mode in (False, True))
    return {
        "checkpoint": {
            "name": "checkpoint",
            "title": "Checkpoint in wire spelling",
            "contentType": DATA_CONTENT_TYPE,
            "payload": _schema("Checkpoint"),
            "bindings": _key(any_key),
            "examples": [{"name": "checkpoint", "payload": samples.CHECKPOINT}],
        },
        "checkpointSdk": {
            "name": "checkpoint-sdk",
            "title": "Checkpoint in the spelling of SDKs",
            "contentType": DATA_CONTENT_TYPE,
            "payload": _schema("SdkCheckpoint"),
            "bindings": _key(any_key),
            "examples": [{"name": "checkpoint-sdk", "payload": samples.SDK_CHECKPOINT}],
        },
        "readyEvent": {
            "name": "ready-event",
            "title": "Ready event, CloudEvents in structured mode",
            "contentType": EVENT_CONTENT_TYPE,
            "headers": _schema("ReadyEventStructuredHeaders"),
            "payload": _schema("ReadyEvent"),
            "correlationId": {"location": "$message.payload#/id"},
            "bindings": _key(_JOB_KEY),
            "examples": [_example("ready-event", structured)],
        },
        "readyEventBinary": {
            "name": "ready-event-binary",
            "title": "Ready event, CloudEvents in binary mode",
            "contentType": DATA_CONTENT_TYPE,
            "headers": _schema("ReadyEventHeaders"),
            "payload": _schema("ReadyData"),
            "correlationId": {"location": "$message.header#/ce_id"},
            "bindings": _key(_JOB_KEY),
            "examples": [_example("ready-event-binary", binary)],
        },
        "checkEvent": {
            "name": "check-event",
            "title": "Check event, CloudEvents in structured mode",
            "contentType": EVENT_CONTENT_TYPE,
            "payload": _schema("CheckEvent"),
            "bindings": _key(check_key),
            "examples": [_example("check-event", samples.check_event(binary_mode=False))],
        },
        "checkEventBinary": {
            "name": "check-event-binary",
            "title": "Check event, CloudEvents in binary mode",
            "contentType": DATA_CONTENT_TYPE,
            "headers": _schema("CheckEventHeaders"),
            "payload": _schema("CheckData"),
            "bindings": _key(check_key),
            "examples": [_example("check-event-binary", samples.check_event(binary_mode=True))],
        },
        "deadLetter": {
            "name": "dead-letter",
            "title": "Dead letter",
            "contentType": "application/octet-stream",
            "headers": _schema("DeadLetterHeaders"),
            "payload": {**_ANY_BYTES, "description": "Value of the source record, byte for byte."},
            "bindings": _key({**_ANY_BYTES, "description": "Key of the source record."}),
            "examples": [{"name": "dead-letter", "headers": samples.dead_letter_message().headers}],
        },
    }


def _schema(name: str) -> Part:
    return {"$ref": f"{_SCHEMAS}{name}"}


def _key(schema: Part) -> Part:
    return {"kafka": {"key": schema, **_KAFKA_BINDING}}


def _example(name: str, message: SampleMessage) -> Part:
    return {"name": name, "headers": message.headers, "payload": message.value}
