"""The CloudEvents SDKs as programs that read and write Kafka records.

The SDK for Python runs in this process, those for JavaScript and Java in programs of their own:
``javascript/sdk.mjs`` and ``java/Sdk.java``. Each line of their input and output is a JSON object.

========  =========================================  ===========================================
command   a line of the input                        a line of the output
========  =========================================  ===========================================
read      a record: `key`, `value`, and `headers`,   an event: `attributes` (an object of texts)
          which is a list of pairs                   and `data` (JSON)
write     an event: `mode`, `attributes`, `data`,    a record
          and `form`, the type of the data for the
          SDK
========  =========================================  ===========================================

Keys, values, contents of headers and the data to write are in base64, or null.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_kafka_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent

from dev.kafka_jars import cache_dir, copy_jars, java_command, locked
from dev.toolchains import npm_packages, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

JAVASCRIPT: Final = Path(__file__).with_name("javascript")
JAVA: Final = Path(__file__).with_name("java")
SECONDS: Final = 120

Header = tuple[str, bytes | None]
Mode = Literal["structured", "binary"]
Form = Literal["object", "text", "bytes"]
JSON_TYPE: Final = "application/json"


class WireRecord(NamedTuple):
    """The parts of a Kafka record that an SDK reads or writes."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


class Event(NamedTuple):
    """An event that an SDK has read. The time is in UTC, with whole seconds."""

    attributes: dict[str, str]
    data: Any


class NewEvent(NamedTuple):
    """An event to write. `form` is the type of the data that the program gives to the SDK.

    An object is a parsed document, a text is a string, bytes are binary data.
    """

    mode: Mode
    form: Form
    attributes: dict[str, str]
    data: bytes


class Sdk(NamedTuple):
    """One SDK. Each function handles many records in one process."""

    name: str
    forms: tuple[Form, ...]
    read: Callable[[Sequence[WireRecord]], list[Event]]
    write: Callable[[Sequence[NewEvent]], list[WireRecord]]


def read_by_python(records: Sequence[WireRecord]) -> list[Event]:
    """Return the events in these records."""
    return [_read_by_python(record) for record in records]


def write_by_python(events: Sequence[NewEvent]) -> list[WireRecord]:
    """Return records with these events."""
    return [_write_by_python(event) for event in events]


def read_by_javascript(records: Sequence[WireRecord]) -> list[Event]:
    """Return the events in these records."""
    return _read_lines(_run(_javascript("read"), map(_record_line, records)))


def write_by_javascript(events: Sequence[NewEvent]) -> list[WireRecord]:
    """Return records with these events."""
    return _record_lines(_run(_javascript("write"), map(_event_line, events)))


def read_by_java(records: Sequence[WireRecord]) -> list[Event]:
    """Return the events in these records."""
    return _read_lines(_run(_java("read"), map(_record_line, records)))


def write_by_java(events: Sequence[NewEvent]) -> list[WireRecord]:
    """Return records with these events."""
    return _record_lines(_run(_java("write"), map(_event_line, events)))


SDKS: Final = (
    Sdk("python", ("object", "text", "bytes"), read_by_python, write_by_python),
    Sdk("javascript", ("object", "text", "bytes"), read_by_javascript, write_by_javascript),
    Sdk("java", ("object", "bytes"), read_by_java, write_by_java),
)


def _read_by_python(record: WireRecord) -> Event:
    headers = {name: content or b"" for name, content in record.headers}
    event = from_kafka_event(KafkaMessage(headers, record.key, record.value or b""))
    attributes = {name: str(found) for name, found in event.get_attributes().items()}
    return _event(attributes, event.get_data())


def _write_by_python(event: NewEvent) -> WireRecord:
    attributes: dict[str, Any] = dict(event.attributes)
    attributes["time"] = datetime.fromisoformat(attributes["time"])
    data = {"object": json.loads(event.data), "text": event.data.decode(), "bytes": event.data}
    write = to_structured_event if event.mode == "structured" else to_binary_event
    message = write(CloudEvent(attributes, data[event.form]))
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return WireRecord(key, message.value, list(message.headers.items()))


@cache
def _javascript(command: str) -> list[str]:
    program = str(JAVASCRIPT / "sdk.mjs")
    return [tool("node"), program, command, str(npm_packages(JAVASCRIPT))]


@cache
def _java(command: str) -> list[str]:
    pom = JAVA / "pom.xml"
    fingerprint = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    jars = cache_dir() / f"cloudevents-jars-{fingerprint}"
    with locked(cache_dir() / f"{jars.name}.lock"):
        if not jars.is_dir():
            copy_jars(pom, jars, "the CloudEvents SDK for Java", {})
    return [java_command(), "-Xmx256m", "-cp", f"{jars}/*", str(JAVA / "Sdk.java"), command]


def _run(command: list[str], lines: Any) -> list[Any]:  # noqa: ANN401 - any iterable of JSON lines
    done = subprocess.run(
        command,
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def _record_line(record: WireRecord) -> str:
    headers = [[name, _base64(content)] for name, content in record.headers]
    return json.dumps(
        {"key": _base64(record.key), "value": _base64(record.value), "headers": headers}
    )


def _event_line(event: NewEvent) -> str:
    return json.dumps(event._asdict() | {"data": _base64(event.data)})


def _record_lines(lines: list[Any]) -> list[WireRecord]:
    return [
        WireRecord(
            _bytes(line["key"]),
            _bytes(line["value"]),
            [(name, _bytes(content)) for name, content in line["headers"]],
        )
        for line in lines
    ]


def _read_lines(lines: list[Any]) -> list[Event]:
    return [_event(line["attributes"], line["data"]) for line in lines]


def _event(attributes: dict[str, str], data: object) -> Event:
    time = datetime.fromisoformat(attributes["time"]).astimezone(UTC)
    return Event(attributes | {"time": time.isoformat(timespec="seconds")}, data)


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
