"""Names what a refused value really is, and the setting that makes a checkpoint of it.

Only refused records come here, and nothing here decides: the reason of the dead letter does not
depend on it. Every look is at a bounded part of the value, so its size makes no difference.
"""

import re
from itertools import islice
from typing import Any, Final

from schemas.checkpoint import CHECKPOINT_OBJECT

_LOOK_BYTES: Final = 200
_LOOK_MEMBERS: Final = 50
_NAME_CHARS: Final = 40
_WHITE_SPACE: Final = b" \t\r\n"
_POSITION: Final = re.compile(r"\(byte ([0-9]+)\)\Z")
_NO_NUMBER: Final = re.compile(rb"-?Infinity|-?NaN|-?inf\b")
_BSON_OVERHEAD_BYTES: Final = 5
_ZLIB_CHECK: Final = 31
# The first byte of a map with members.
_MESSAGE_PACK: Final = frozenset({*range(0x81, 0x90), 0xDE, 0xDF})
_CBOR: Final = frozenset({*range(0xA1, 0xBC), 0xBF, 0xD9})

_COMPRESSED: Final = (
    "the value is compressed by {}: compress in the Kafka client (compression.type) and not in the "
    "value"
)
_SERIALIZED: Final = "the value is {}, not JSON: set the producer's value serializer to JSON"
_COMPRESSIONS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x82SNAPPY\x00", "snappy"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"LZ4Block", "lz4"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
)
_FORMATS: Final = (
    (b"Obj\x01", "an Avro file"),
    (b"\xc3\x01", "an Avro single object"),
    (b"\xac\xed\x00\x05", "a serialized Java object"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b":)\n", "Smile"),
    (b"PAR1", "a Parquet file"),
)
_UTF_32: Final = "UTF-32"
_UTF_16: Final = "UTF-16"
_TEXTS: Final = (
    (
        re.compile(rb"[{\[]?'|\{u'|\(?\{'|b['\"]"),
        "the value is Python's way to print an object (repr): write it with json.dumps",
    ),
    (
        re.compile(rb"\[object [A-Za-z]+\]"),
        "the value is JavaScript's text for an object: write it with JSON.stringify",
    ),
    (
        re.compile(rb"Struct\{"),
        (
            "the value is a Kafka Connect Struct as text: set value.converter to "
            "org.apache.kafka.connect.json.JsonConverter instead of StringConverter"
        ),
    ),
    (
        re.compile(rb"\{[A-Za-z_]+="),
        "the value is a Java map as text (toString): serialize it with a JSON serializer",
    ),
    (
        re.compile(rb"\{\\+\""),
        "the value is JSON with escaped quotes: send the text itself, not the inside of a string",
    ),
    (
        re.compile(rb"(?i:<!doctype html|<html)"),
        (
            "the value is an HTML page, mostly an error page of a proxy: check the HTTP status "
            "before the body is sent"
        ),
    ),
    (re.compile(rb"<[?A-Za-z]"), "the value is XML: send the checkpoint as JSON"),
    (
        re.compile(rb"[A-Za-z0-9_.-]*=?%(?:25)*7[Bb]"),
        "the value is percent-encoded, as an HTML form is: decode it before it is sent",
    ),
    (
        re.compile(rb"(?:data|event|id|retry): ?[^\r\n]"),
        "the value is a server-sent event: send what follows 'data:' alone",
    ),
    (
        re.compile(rb"\x1e"),
        "the value is a JSON text sequence (RFC 7464): send each text without its separator",
    ),
    (
        re.compile(rb"\)\]\}'"),
        "the value has a prefix against script inclusion: take off its first line",
    ),
    (
        re.compile(rb"[\w.-]{1,100}[\t:|,; ]{1,3}\{\s*\""),
        (
            "the value has a text, mostly the key, before its JSON: set parse.key=true and "
            "key.separator, or send the JSON alone"
        ),
    ),
    (
        re.compile(rb"---(?:\r?\n| )|object: "),
        "the value is YAML: send the checkpoint as JSON",
    ),
)
# The beginning of base64 of `{"`, `{ `, `{\n`, `{\r` and `{\t`.
_BASE64: Final = (b"eyJ", b"eyA", b"ewo", b"ew0", b"ewk")
_BASE64_SENTENCE: Final = (
    "the value is JSON in base64: send the bytes themselves (in Kafka Connect a JsonConverter "
    "behind bytes does this: use ByteArrayConverter)"
)
_ENCODED_TWICE: Final = (
    "the value is JSON encoded twice, a string that holds the JSON text: serialize it once (a "
    "StringSerializer for text, a JSON serializer for an object)"
)
_CONNECT_VALUE: Final = (
    "a Kafka Connect envelope whose payload holds the text in 'value', as an HTTP source connector "
    "writes it: set transforms=value, transforms.value.type="
    "org.apache.kafka.connect.transforms.ExtractField$Value, transforms.value.field=value and "
    "value.converter=org.apache.kafka.connect.storage.StringConverter"
)
_CONNECT_OTHER: Final = (
    "a Kafka Connect envelope whose payload is neither an object nor text: set "
    "value.converter.schemas.enable=false, and a transform that leaves the checkpoint alone"
)
_PAGE: Final = (
    "this is a page of a list: send each of its elements as a record of its own, or write the page "
    "to a file and use `checkpoint-ready backfill`"
)
_DEBEZIUM: Final = (
    "a Debezium change event: set transforms=unwrap and "
    "transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState in the connector"
)
_SHAPES: Final = (
    (frozenset({"before", "after", "op"}), _DEBEZIUM),
    (frozenset({"before", "after", "source"}), _DEBEZIUM),
    (frozenset({"schema", "payload"}), _CONNECT_OTHER),
    (
        frozenset({"operationType", "ns"}),
        "a MongoDB change event: set publish.full.document.only=true in the connector",
    ),
    (
        frozenset({"Type", "Message", "TopicArn"}),
        "an Amazon SNS envelope: turn on raw message delivery for the subscription",
    ),
    (
        frozenset({"specversion"}),
        "a CloudEvents envelope without data, or inside another one: send one with data",
    ),
    (
        frozenset({"records"}),
        "a request to a Kafka REST proxy: send it to the proxy, and not to Kafka",
    ),
)


def explain_text(payload: bytes, parser_message: str) -> str | None:
    """Return what a value is that is not JSON; None: nothing that is known."""
    return (
        _explain_encoding(payload)
        or _explain_position(payload, parser_message)
        or _explain_beginning(payload)
    )


def explain_not_utf8(payload: bytes) -> str:
    """Return what a text with bytes that are not UTF-8 is."""
    return _explain_encoding(payload) or (
        "the text is not UTF-8, perhaps Latin-1 or Windows-1252: set the producer's encoding to "
        "UTF-8"
    )


def explain_document(document: object, *, in_connect: bool = False) -> str | None:
    """Return what a JSON value is that is not a checkpoint; None: nothing that is known.

    `in_connect`: it was the payload of a Kafka Connect envelope.
    """
    if isinstance(document, dict):
        if in_connect and isinstance(document.get("value"), str) and "object" not in document:
            return _CONNECT_VALUE
        return _explain_members(document)
    if isinstance(document, list):
        return _explain_items(document)
    if isinstance(document, str):
        return _explain_string(document)
    return None


def _explain_encoding(payload: bytes) -> str | None:
    head = payload[:_LOOK_BYTES]
    name = next((name for magic, name in _COMPRESSIONS if head.startswith(magic)), None)
    if name is None and _is_zlib(head):
        name = "zlib"
    if name is not None:
        return _COMPRESSED.format(name)
    if _is_bson(payload):
        return _SERIALIZED.format("BSON")
    wide = _wide_encoding(head)
    if wide is not None:
        return f"the text is {wide}, not UTF-8: set the producer's encoding to UTF-8"
    name = next((name for magic, name in _FORMATS if head.startswith(magic)), None)
    if name is None:
        name = _binary_format(head)
    if name is not None:
        return _SERIALIZED.format(name)
    if head[:1] in {b"\x00", b"\x01"}:
        return (
            "the value begins like a schema registry's prefix, but no JSON object is behind it "
            "(Avro or Protobuf, perhaps): use the JSON Schema serializer or plain JSON"
        )
    return None


def _is_zlib(head: bytes) -> bool:
    """Tell whether it begins with a zlib header of a 32 KiB window (RFC 1950)."""
    return head[:1] == b"x" and int.from_bytes(head[:2]) % _ZLIB_CHECK == 0


def _wide_encoding(head: bytes) -> str | None:
    """Return the wide encoding of a text, by its byte-order mark or by its null bytes."""
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return _UTF_32
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _UTF_16
    first = head[:4]
    nulls = [byte == 0 for byte in first]
    if nulls in ([False, True, True, True], [True, True, True, False]):
        return _UTF_32
    return _UTF_16 if nulls in ([False, True, False, True], [True, False, True, False]) else None


def _is_bson(payload: bytes) -> bool:
    """Tell whether it begins with its own size and ends with a null byte."""
    size_bytes = int.from_bytes(payload[:4], "little")
    return size_bytes == len(payload) >= _BSON_OVERHEAD_BYTES and payload.endswith(b"\x00")


def _binary_format(head: bytes) -> str | None:
    """Return the binary form of JSON that a value is, by its first byte."""
    if not head:
        return None
    if head[0] in _MESSAGE_PACK:
        return "MessagePack"
    return "CBOR" if head[0] in _CBOR else None


def _explain_position(payload: bytes, parser_message: str) -> str | None:
    """Return what is at the place that the parser names."""
    found = _POSITION.search(parser_message)
    if found is None:
        if parser_message == "Input data was truncated" and payload.lstrip(_WHITE_SPACE):
            return (
                "the JSON text ends in its middle: look for a limit of length in the producer or a "
                "field that it reads from"
            )
        return None
    at = int(found[1])
    if "trailing characters" in parser_message:
        at -= 1  # the parser has read one byte of it
        if payload[at : at + 1] in {b"{", b"["}:
            return (
                f"there are several JSON documents in one value, the second one from byte {at} "
                "on: send each as a record of its own"
            )
        return None
    # The parser names the first byte that cannot be, which is behind a sign.
    start = at - 1 if payload[at - 1 : at] == b"-" else at
    number = _NO_NUMBER.match(payload, start, start + _LOOK_BYTES)
    if number is None:
        return None
    return (
        f"{number[0].decode()} at byte {start} is not JSON: send null, or leave the member out "
        "(in Python json.dumps(..., allow_nan=False) finds it)"
    )


def _explain_beginning(payload: bytes) -> str | None:
    head = payload[:_LOOK_BYTES].lstrip(_WHITE_SPACE)
    if head.startswith(_BASE64):
        return _BASE64_SENTENCE
    return next((sentence for pattern, sentence in _TEXTS if pattern.match(head)), None)


def _explain_members(document: dict[str, Any]) -> str | None:
    name = document.get("object")
    if name == "list" or (isinstance(document.get("data"), list) and "has_more" in document):
        return _PAGE
    if name is not None:
        return None
    for members, sentence in _SHAPES:
        if members <= document.keys():
            return sentence
    return _explain_member(document)


def _explain_member(document: dict[str, Any]) -> str | None:
    """Return which member holds the checkpoint, where it is not the document itself."""
    for name, item in islice(document.items(), _LOOK_MEMBERS):
        shown = repr(name[:_NAME_CHARS])
        if isinstance(item, dict) and item.get("object") == CHECKPOINT_OBJECT:
            return f"the checkpoint is inside the member {shown}: send that member alone"
        if isinstance(item, str) and _holds_json(item):
            return f"the member {shown} holds JSON as text: send that text alone as the value"
    return None


def _explain_items(items: list[Any]) -> str | None:
    first = items[0] if items else None
    if not isinstance(first, dict):
        return None
    if "specversion" in first:
        return "this is a batch of CloudEvents: send each event as a record of its own"
    return (
        "there are several documents in one array: send each as a record of its own, or use "
        "`checkpoint-ready backfill`"
    )


def _explain_string(text: str) -> str | None:
    if _holds_json(text):
        return _ENCODED_TWICE
    if text.startswith(tuple(mark.decode() for mark in _BASE64)):
        return _BASE64_SENTENCE
    return None


def _holds_json(text: str) -> bool:
    return text[:_LOOK_BYTES].lstrip().startswith(("{", "[{", '"{'))
