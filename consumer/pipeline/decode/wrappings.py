"""Explains a refused value: its actual format, and the producer setting that fixes it.

Only refused records are examined. The explanation is part of the message of the dead letter and
does not affect its reason. Each check reads a bounded part of the value, so the cost does not
depend on the size of the value.
"""

import re
from itertools import islice
from typing import Any, Final

from schemas.checkpoint import CHECKPOINT_OBJECT

_CHECKED_BYTES: Final = 200
_CHECKED_MEMBERS: Final = 50
_NAME_CHARS: Final = 40
_WHITE_SPACE: Final = b" \t\r\n"
_POSITION: Final = re.compile(r"\(byte ([0-9]+)\)\Z")
_NO_NUMBER: Final = re.compile(rb"-?Infinity|-?NaN|-?inf\b")
_BSON_OVERHEAD_BYTES: Final = 5
_ZLIB_CHECK: Final = 31
# The possible first bytes of a map with members, in MessagePack and in CBOR. In CBOR, 0xD9 begins a
# tag, such as the one that marks a value as CBOR.
_MESSAGE_PACK: Final = frozenset({*range(0x81, 0x90), 0xDE, 0xDF})
_CBOR: Final = frozenset({*range(0xA1, 0xBC), 0xBF, 0xD9})

_COMPRESSED: Final = (
    "the value is compressed by {}: use the compression of the Kafka client (compression.type) and "
    "do not compress the value itself"
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
        "the value is the repr of a Python object: encode it with json.dumps",
    ),
    (
        re.compile(rb"\[object [A-Za-z]+\]"),
        "the value is a JavaScript object as text (toString): encode it with JSON.stringify",
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
            "the value is an HTML page, often the error page of a proxy: check the HTTP status "
            "before sending the body"
        ),
    ),
    (re.compile(rb"<[?A-Za-z]"), "the value is XML: send the checkpoint as JSON"),
    (
        re.compile(rb"[A-Za-z0-9_.-]*=?%(?:25)*7[Bb]"),
        "the value is percent-encoded, as an HTML form is: decode it before sending",
    ),
    (
        re.compile(rb"(?:data|event|id|retry): ?[^\r\n]"),
        "the value is a server-sent event: send only the text after 'data:'",
    ),
    (
        re.compile(rb"\x1e"),
        "the value is a JSON text sequence (RFC 7464): send each text without its separator",
    ),
    (
        re.compile(rb"\)\]\}'"),
        "the value has a prefix against script inclusion: remove its first line",
    ),
    (
        re.compile(rb"[\w.-]{1,100}[\t:|,; ]{1,3}\{\s*\""),
        (
            "the value has a text before its JSON, usually the key: set parse.key=true and "
            "key.separator, or send only the JSON"
        ),
    ),
    (
        re.compile(rb"---(?:\r?\n| )|object: "),
        "the value is YAML: send the checkpoint as JSON",
    ),
)
# The first characters of `{"`, `{ `, `{\n`, `{\r` and `{\t` in base64.
_BASE64: Final = (b"eyJ", b"eyA", b"ewo", b"ew0", b"ewk")
JSON_IN_BASE64: Final = (
    "the value is JSON in base64: send the JSON bytes (in Kafka Connect a JsonConverter encodes "
    "bytes in this way: use ByteArrayConverter)"
)
ENCODED_TWICE: Final = (
    "the value is JSON encoded twice, a string that contains the JSON text: serialize it once (a "
    "StringSerializer for a text, a JSON serializer for an object)"
)
CONNECT_VALUE: Final = (
    "a Kafka Connect envelope with the text in the member 'value' of its payload, as an HTTP "
    "source connector writes it: set transforms=value, transforms.value.type="
    "org.apache.kafka.connect.transforms.ExtractField$Value, transforms.value.field=value and "
    "value.converter=org.apache.kafka.connect.storage.StringConverter"
)
CONNECT_OTHER: Final = (
    "a Kafka Connect envelope whose payload is neither an object nor a text: set "
    "value.converter.schemas.enable=false, and a transform that outputs only the checkpoint"
)
PAGE_OF_A_LIST: Final = (
    "this is a page of a list: send each of its elements as a separate record, or write the page "
    "to a file and use `checkpoint-ready backfill`"
)
BATCH_OF_EVENTS: Final = "this is a batch of CloudEvents: send each event as a separate record"
_DEBEZIUM: Final = (
    "a Debezium change event: set transforms=unwrap and "
    "transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState in the connector"
)
EVENT_WITHOUT_DATA: Final = (
    "a CloudEvents envelope without data, or inside another one: send one envelope with data"
)
_SHAPES: Final = (
    (frozenset({"before", "after", "op"}), _DEBEZIUM),
    (frozenset({"before", "after", "source"}), _DEBEZIUM),
    (frozenset({"schema", "payload"}), CONNECT_OTHER),
    (
        frozenset({"operationType", "ns"}),
        "a MongoDB change event: set publish.full.document.only=true in the connector",
    ),
    (
        frozenset({"Type", "Message", "TopicArn"}),
        "an Amazon SNS envelope: enable raw message delivery for the subscription",
    ),
    (
        frozenset({"specversion"}),
        EVENT_WITHOUT_DATA,
    ),
    (
        frozenset({"records"}),
        "a request to a Kafka REST proxy: send it to the proxy, not to Kafka",
    ),
)


JSON_CUT_OFF: Final = (
    "the JSON text is cut off: check for a length limit in the producer, or in a field that it "
    "reads from"
)


def explain_text(payload: bytes, parser_message: str) -> str | None:
    """Return an explanation of a value that is not JSON, or None if its format is unknown."""
    return (
        _explain_encoding(payload)
        or _explain_position(payload, parser_message)
        or _explain_beginning(payload)
    )


def explain_not_utf8(payload: bytes) -> str:
    """Return an explanation of a text with bytes that are not UTF-8."""
    return _explain_encoding(payload) or (
        "the text is not UTF-8, perhaps Latin-1 or Windows-1252: set the producer's encoding to "
        "UTF-8"
    )


def explain_document(document: object, *, in_connect: bool = False) -> str | None:
    """Return an explanation of JSON that is not a checkpoint, or None if its format is unknown.

    `in_connect`: whether the document was the payload of a Kafka Connect envelope.
    """
    if isinstance(document, dict):
        if in_connect and isinstance(document.get("value"), str) and "object" not in document:
            return CONNECT_VALUE
        return _explain_members(document)
    if isinstance(document, list):
        return _explain_items(document)
    if isinstance(document, str):
        return _explain_string(document)
    return None


def _explain_encoding(payload: bytes) -> str | None:
    head = payload[:_CHECKED_BYTES]
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
            "the value begins with the prefix of a schema registry, but no JSON object follows "
            "(perhaps Avro or Protobuf): use the JSON Schema serializer or plain JSON"
        )
    return None


def _is_zlib(head: bytes) -> bool:
    """Return whether the value begins with a zlib header of a 32 KiB window (RFC 1950)."""
    return head[:1] == b"x" and int.from_bytes(head[:2]) % _ZLIB_CHECK == 0


def _wide_encoding(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if the byte-order mark or the null bytes show it, else None."""
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
    """Return whether the value begins with its own size and ends with a null byte."""
    size_bytes = int.from_bytes(payload[:4], "little")
    return size_bytes == len(payload) >= _BSON_OVERHEAD_BYTES and payload.endswith(b"\x00")


def _binary_format(head: bytes) -> str | None:
    """Return the binary JSON format that the first byte indicates, else None."""
    if not head:
        return None
    if head[0] in _MESSAGE_PACK:
        return "MessagePack"
    return "CBOR" if head[0] in _CBOR else None


def _explain_position(payload: bytes, parser_message: str) -> str | None:
    """Return an explanation of the text at the position in the parser's message, else None."""
    found = _POSITION.search(parser_message)
    if found is None:
        if parser_message == "Input data was truncated" and payload.lstrip(_WHITE_SPACE):
            return JSON_CUT_OFF
        return None
    at = int(found[1])
    if "trailing characters" in parser_message:
        at -= 1  # the parser has read one byte of the second document
        if payload[at : at + 1] in {b"{", b"["}:
            return (
                "the value contains several JSON documents, the second one starts at byte "
                f"{at}: send each as a separate record"
            )
        return None
    # The parser reports the first invalid byte. In `-NaN` that is the byte after the sign.
    start = at - 1 if payload[at - 1 : at] == b"-" else at
    number = _NO_NUMBER.match(payload, start, start + _CHECKED_BYTES)
    if number is None:
        return None
    return (
        f"{number[0].decode()} at byte {start} is not JSON: send null, or omit the member (in "
        "Python json.dumps(..., allow_nan=False) detects it)"
    )


def _explain_beginning(payload: bytes) -> str | None:
    head = payload[:_CHECKED_BYTES].lstrip(_WHITE_SPACE)
    if head.startswith(_BASE64):
        return JSON_IN_BASE64
    return next((sentence for pattern, sentence in _TEXTS if pattern.match(head)), None)


def _explain_members(document: dict[str, Any]) -> str | None:
    name = document.get("object")
    if name == "list" or (isinstance(document.get("data"), list) and "has_more" in document):
        return PAGE_OF_A_LIST
    if name is not None:
        return None
    for members, sentence in _SHAPES:
        if members <= document.keys():
            return sentence
    return _explain_member(document)


def _explain_member(document: dict[str, Any]) -> str | None:
    """Return an explanation that names the member that holds the checkpoint, else None."""
    for name, item in islice(document.items(), _CHECKED_MEMBERS):
        shown = repr(name[:_NAME_CHARS])
        if isinstance(item, dict) and item.get("object") == CHECKPOINT_OBJECT:
            return f"the checkpoint is inside the member {shown}: send only that member"
        if isinstance(item, str) and _holds_json(item):
            return f"the member {shown} holds JSON as text: send only that text, as the value"
    return None


def _explain_items(items: list[Any]) -> str | None:
    first = items[0] if items else None
    if not isinstance(first, dict):
        return None
    if "specversion" in first:
        return BATCH_OF_EVENTS
    return (
        "the value is an array of documents: send each as a separate record, or use "
        "`checkpoint-ready backfill`"
    )


def _explain_string(text: str) -> str | None:
    if _holds_json(text):
        return ENCODED_TWICE
    if text.startswith(tuple(prefix.decode() for prefix in _BASE64)):
        return JSON_IN_BASE64
    return None


def _holds_json(text: str) -> bool:
    return text[:_CHECKED_BYTES].lstrip().startswith(("{", "[{", '"{'))
