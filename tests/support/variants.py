"""The many ways to write one checkpoint: both spellings, any order of fields, in a CloudEvent.

Two variants of one content are duplicates, though their bytes differ.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NamedTuple

from tests.support.documents import SDK_EXAMPLE, STRUCTURED, camel, compact
from tests.support.sample_jobs import SDK_EXAMPLE_CONTENT

if TYPE_CHECKING:
    import random

    from tests.support.documents import Document

Headers = list[tuple[str, bytes | None]]


class Variant(NamedTuple):
    """A content as one producer writes it: the value and the headers of a record."""

    value: bytes
    headers: Headers


def write_variant(content: Document, rng: random.Random) -> Variant:
    """Return the content as a random kind of producer writes it."""
    if content is SDK_EXAMPLE_CONTENT:
        return Variant(SDK_EXAMPLE, [])
    ways = (_wire, _pretty, _sdk, _floats, _structured, _structured_base64, _binary)
    variant = rng.choices(ways, (8, 2, 5, 2, 3, 1, 2))[0](content, rng)
    if rng.random() < 0.2:
        trace, span = rng.randbytes(16).hex(), rng.randbytes(8).hex()
        variant.headers.append(("traceparent", f"00-{trace}-{span}-01".encode()))
    return variant


def _wire(content: Document, _: random.Random) -> Variant:
    return Variant(compact(content), [])


def _pretty(content: Document, rng: random.Random) -> Variant:
    """Return the fields in another order, with white space."""
    fields = list(content.items())
    rng.shuffle(fields)
    return Variant(json.dumps(dict(fields), indent=2).encode(), [])


def _sdk(content: Document, _: random.Random) -> Variant:
    return Variant(compact(camel(content)), [("content-type", b"application/json")])


def _floats(content: Document, _: random.Random) -> Variant:
    """Return what SDKs of languages without integers write: 88.0 for 88."""
    spelled = camel(content)
    spelled["stepNumber"] = float(spelled["stepNumber"])
    spelled["createdAt"] = float(spelled["createdAt"])
    return Variant(compact(spelled), [])


def _structured(content: Document, _: random.Random) -> Variant:
    envelope = {**_attributes(content), "datacontenttype": "application/json", "data": content}
    return Variant(compact(envelope), [STRUCTURED])


def _structured_base64(content: Document, _: random.Random) -> Variant:
    data = base64.b64encode(compact(content)).decode()
    return Variant(compact({**_attributes(content), "data_base64": data}), [STRUCTURED])


def _binary(content: Document, _: random.Random) -> Variant:
    headers: Headers = [
        (f"ce_{name}", str(value).encode()) for name, value in _attributes(content).items()
    ]
    return Variant(compact(content), [("content-type", b"application/json"), *headers])


def _attributes(content: Document) -> dict[str, str]:
    """Return the attributes of a CloudEvent."""
    return {
        "specversion": "1.0",
        "id": f"poll/{content['id']}",
        "source": "/pollers/fine-tuning",
        "type": "fine_tuning.job.checkpoint.listed",
    }
