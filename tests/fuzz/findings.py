"""What fuzzing has found, each as the smallest record that shows it, and its right outcome."""

import base64
import json
from typing import Final, NamedTuple

from tests.builders import STRUCTURED, checkpoint, envelope
from tests.fuzz.edge_cases import Header

_VALID: Final = json.dumps(checkpoint()).encode()
_BASE64: Final = base64.b64encode(_VALID + b" " * (-len(_VALID) % 3)).decode()


class Finding(NamedTuple):
    """A record that was once wrongly decided, or nearly so."""

    name: str
    value: bytes
    headers: tuple[Header, ...]
    outcome: str


FINDINGS: Final = (
    # A number out of range ended the parsing, and what stood behind it was taken for JSON unread.
    Finding("text ends behind a number out of range", b"[1e999", (), "malformed_json"),
    Finding("no JSON behind a number out of range", b"[1e999 88]", (), "malformed_json"),
    Finding("no UTF-8 behind a number out of range", b'[1e999,"\xff"]', (), "malformed_json"),
    Finding("surrogate behind a number out of range", b'[1e999,"\\ud800"]', (), "malformed_json"),
    Finding(
        "NaN behind an integer out of range", b"[%b,NaN]" % (b"7" * 4301), (), "malformed_json"
    ),
    Finding("a number out of range and nothing else", b"[1e999]", (), "invalid_schema"),
    # Latin-1 white space around a media type was taken off: it is no CloudEvent, but a checkpoint.
    Finding(
        "a no-break space before the media type",
        _VALID,
        (("content-type", b"\xa0application/cloudevents+json"),),
        "published",
    ),
    Finding(
        "a control character after the media type",
        json.dumps(envelope(checkpoint())).encode(),
        (("content-type", b"application/cloudevents+json\x85;"),),
        "invalid_schema",
    ),
    # Python's base64 takes padding behind a group that is complete.
    Finding(
        "padding where there is nothing to pad",
        json.dumps(envelope(..., data_base64=_BASE64 + "=")).encode(),
        (STRUCTURED,),
        "invalid_schema",
    ),
    Finding(
        "the same without padding",
        json.dumps(envelope(..., data_base64=_BASE64)).encode(),
        (STRUCTURED,),
        "published",
    ),
    # Never wrong, but each is decided by a rule that is easily lost.
    Finding("too deep, and no JSON either", b"[" * 65, (), "too_deep"),
    Finding("too deep behind a number out of range", b"[1e999," + b"[" * 65, (), "too_deep"),
    Finding(
        "an envelope's key with an escape",
        json.dumps(envelope(checkpoint())).encode().replace(b'"data"', b'"d\\u0061ta"'),
        (STRUCTURED,),
        "published",
    ),
    Finding(
        "an envelope with data twice",
        json.dumps(envelope(checkpoint())).encode().replace(b'"data"', b'"data":5,"data"'),
        (STRUCTURED,),
        "published",
    ),
    Finding(
        "a step of 301 digits",
        json.dumps(checkpoint(metrics={"step": 0})).encode().replace(b"0}", b"1e300}"),
        (),
        "published",
    ),
)
