"""The many ways to write one checkpoint: both spellings, any order, inside CloudEvents.

Two dresses of one content are duplicates, whatever their bytes.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NamedTuple

from dev.sample_events import SDK_EXAMPLE, SDK_EXAMPLE_CONTENT

if TYPE_CHECKING:
    import random

    from dev.sample_events import Content

Headers = list[tuple[str, bytes | None]]


class Dressed(NamedTuple):
    """A content as one producer writes it: the record's value and headers."""

    value: bytes
    headers: Headers


def dress(content: Content, rng: random.Random) -> Dressed:
    """Write a content as one of the many kinds of producers does."""
    if content is SDK_EXAMPLE_CONTENT:
        return Dressed(SDK_EXAMPLE, [])
    ways = (_wire, _pretty, _sdk, _floats, _structured, _structured_base64, _binary)
    dressed = rng.choices(ways, (8, 2, 5, 2, 3, 1, 2))[0](content, rng)
    if rng.random() < 0.2:  # noqa: PLR2004 - one in five is traced
        trace, span = rng.randbytes(16).hex(), rng.randbytes(8).hex()
        dressed.headers.append(("traceparent", f"00-{trace}-{span}-01".encode()))
    return dressed


def to_sdk(content: Content) -> Content:
    """Return the content in the spelling of the SDKs: camelCase."""
    spelled = {_camel(name): value for name, value in content.items()}
    spelled["metrics"] = {_camel(name): value for name, value in content["metrics"].items()}
    return spelled


def compact(document: object) -> bytes:
    """Write JSON without white space."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _wire(content: Content, _: random.Random) -> Dressed:
    return Dressed(compact(content), [])


def _pretty(content: Content, rng: random.Random) -> Dressed:
    """Fields in another order, with white space."""
    fields = list(content.items())
    rng.shuffle(fields)
    return Dressed(json.dumps(dict(fields), indent=2).encode(), [])


def _sdk(content: Content, _: random.Random) -> Dressed:
    return Dressed(compact(to_sdk(content)), [("content-type", b"application/json")])


def _floats(content: Content, _: random.Random) -> Dressed:
    """SDKs of languages without integers: 88.0 for 88."""
    spelled = to_sdk(content)
    spelled["stepNumber"] = float(spelled["stepNumber"])
    spelled["createdAt"] = float(spelled["createdAt"])
    return Dressed(compact(spelled), [])


def _structured(content: Content, _: random.Random) -> Dressed:
    envelope = {**_attributes(content), "datacontenttype": "application/json", "data": content}
    return Dressed(compact(envelope), [_structured_header()])


def _structured_base64(content: Content, _: random.Random) -> Dressed:
    data = base64.b64encode(compact(content)).decode()
    return Dressed(compact({**_attributes(content), "data_base64": data}), [_structured_header()])


def _binary(content: Content, _: random.Random) -> Dressed:
    headers: Headers = [
        (f"ce_{name}", str(value).encode()) for name, value in _attributes(content).items()
    ]
    return Dressed(compact(content), [("content-type", b"application/json"), *headers])


def _attributes(content: Content) -> dict[str, str]:
    """Return the attributes of a CloudEvent as some producer sets them."""
    return {
        "specversion": "1.0",
        "id": f"poll/{content['id']}",
        "source": "/pollers/fine-tuning",
        "type": "fine_tuning.job.checkpoint.listed",
    }


def _structured_header() -> tuple[str, bytes]:
    return ("content-type", b"application/cloudevents+json; charset=UTF-8")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
