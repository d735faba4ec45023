"""The message names each common wrapping of a checkpoint, and the setting that fixes it."""

import base64
import gzip
import json
import lzma
import pickle
import time
import zlib
from typing import Any

import pytest

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.decode.wrappings import (
    CONNECT_OTHER,
    CONNECT_VALUE,
    ENCODED_TWICE,
    EVENT_WITHOUT_DATA,
    JSON_CUT_OFF,
    JSON_IN_BASE64,
    PAGE_OF_A_LIST,
)
from consumer.pipeline.records import InvalidRecord, Reason
from tests.builders import checkpoint, connect, envelope

TEXT = json.dumps(checkpoint()).encode()
CHANGE = {"before": None, "after": checkpoint(), "source": {}, "op": "c", "ts_ms": 1}


def refusal_of(value: bytes) -> InvalidRecord:
    """Return the error by which a value is refused."""
    with pytest.raises(InvalidRecord) as caught:
        decode(value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (TEXT.replace(b"0.478", b"NaN"), f"NaN at byte {TEXT.index(b'0.478')}"),
        (TEXT.replace(b"0.478", b"Infinity"), "Infinity at byte"),
        (TEXT.replace(b"0.478", b"-Infinity"), f"-Infinity at byte {TEXT.index(b'0.478')}"),
        (TEXT.decode().encode("utf-16"), "UTF-16"),
        (TEXT.decode().encode("utf-16-le"), "UTF-16"),
        (TEXT.decode().encode("utf-16-be"), "UTF-16"),
        (TEXT.decode().encode("utf-32"), "UTF-32"),
        (TEXT.decode().encode("utf-32-le"), "UTF-32"),
        (TEXT.decode().encode("utf-32-be"), "UTF-32"),
        (TEXT.replace(b"custom", b"caf\xe9"), "Latin-1"),
        (gzip.compress(TEXT * 50), "gzip"),
        (zlib.compress(TEXT), "zlib"),
        (lzma.compress(TEXT), "xz"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"\x82SNAPPY\x00\x00", "snappy"),
        (b"\xff\x06\x00\x00sNaPpY", "snappy"),
        (b"\x04\x22\x4d\x18\x60", "lz4"),
        (TEXT + b"\n" + TEXT, f"the second one starts at byte {len(TEXT) + 1}"),
        (TEXT + TEXT, "several JSON documents"),
        (b"\x1e" + TEXT + b"\n", "JSON text sequence"),
        (TEXT[: len(TEXT) // 2], JSON_CUT_OFF),
        (b"\x00\x00\x00\x00\x07\x02\x0aabc", "schema registry"),
        (b"\x01" + bytes(range(16)) + b"\x02abc", "schema registry"),
        (b"Obj\x01\x04\x14avro.codec", "an Avro file"),
        (b"\xac\xed\x00\x05t\x01", "serialized Java object"),
        (pickle.dumps(checkpoint()), "Python pickle"),
        (b"\x87\xa2id\xa1x", "MessagePack"),
        (b"\xbf\x62id\x61x\xff", "CBOR"),
        (b"\x11\x00\x00\x00\x02id\x00\x02\x00\x00\x00x\x00\x00\x00"[:16] + b"\x00", "BSON"),
        (base64.b64encode(TEXT), "base64"),
        (str(checkpoint()).encode(), "json.dumps"),
        (str(TEXT).encode(), "json.dumps"),
        (b"[object Object]", "JSON.stringify"),
        (b"Struct{id=x,object=y}", "StringConverter"),
        (b"{id=x, object=y}", "toString"),
        (TEXT.replace(b'"', b'\\"'), "escaped quotes"),
        (b"<!DOCTYPE html><html>502 Bad Gateway</html>", "HTML"),
        (b'<?xml version="1.0"?><a/>', "XML"),
        (b"payload=%7B%22object%22%3A1%7D", "percent-encoded"),
        (b"data: " + TEXT + b"\n\n", "server-sent event"),
        (b"ftckpt_1:" + TEXT, "parse.key"),
        (b"object: fine_tuning.job.checkpoint\nid: x\n", "YAML"),
    ],
)  # fmt: skip
def test_values_that_are_not_json(value: bytes, words: str) -> None:
    """The message names the encoding or the place, and the reason stays the same."""
    refused = refusal_of(value)
    assert words in refused.message
    assert refused.reason is Reason.MALFORMED_JSON


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (json.dumps(checkpoint()), ENCODED_TWICE),
        (base64.b64encode(TEXT).decode(), JSON_IN_BASE64),
        ([checkpoint(), checkpoint(id="b")], "array"),
        ([envelope(checkpoint())], "batch of CloudEvents"),
        (envelope(json.dumps(json.dumps(checkpoint()))), "encoded twice"),
        (envelope(envelope(checkpoint())), EVENT_WITHOUT_DATA),
        ({"data": [checkpoint()], "has_more": False}, PAGE_OF_A_LIST),
        (connect({"value": json.dumps(checkpoint()), "key": "k"}), CONNECT_VALUE),
        (connect({"value": json.dumps(checkpoint())}), "ExtractField$Value"),
        (connect([checkpoint()]), CONNECT_OTHER),
        (connect(connect(checkpoint())), CONNECT_OTHER),
        (CHANGE, "ExtractNewRecordState"),
        (connect(CHANGE), "ExtractNewRecordState"),
        (
            {"_id": {}, "operationType": "insert", "ns": {}, "fullDocument": checkpoint()},
            "publish.full.document.only",
        ),
        ({"Type": "Notification", "TopicArn": "a", "Message": "{}"}, "raw message delivery"),
        ({"records": [{"value": checkpoint()}]}, "REST proxy"),
        ({"checkpoint": checkpoint()}, "inside the member 'checkpoint'"),
        ({"@timestamp": "t", "message": json.dumps(checkpoint())}, "member 'message' holds JSON"),
    ],
)
def test_json_that_is_no_checkpoint(document: Any, words: str) -> None:  # noqa: ANN401 - JSON of any shape
    """The message names the wrapping. The reason is invalid_schema."""
    refused = refusal_of(json.dumps(document).encode())
    assert words in refused.message
    assert refused.reason is Reason.INVALID_SCHEMA


def test_a_page_of_a_list_is_named() -> None:
    """It is an object of another type. The message says what to do with its elements."""
    refused = refusal_of(json.dumps({"object": "list", "data": [checkpoint()]}).encode())
    assert refused.reason is Reason.WRONG_OBJECT_TYPE
    assert PAGE_OF_A_LIST in refused.message


def test_the_setting_is_never_cut_off() -> None:
    """The explanation comes before the message of the parser, so truncation keeps it."""
    message = refusal_of(json.dumps(connect({"value": "{}"})).encode()).message
    assert message.index("StringConverter") < 450


@pytest.mark.parametrize("unit", [b"{'a': ", b"NaN,", b"ftckpt_1:", b'{"a":1}', b"%7B", b"x-._"])
def test_naming_costs_the_same_whatever_the_size(unit: bytes) -> None:
    """A megabyte is refused in milliseconds, because only bounded parts are read."""
    value = unit * (1_000_000 // len(unit))
    began = time.process_time()
    refusal_of(value)
    assert time.process_time() - began < 0.2
