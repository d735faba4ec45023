"""The comparison form: decides whether two records say the same.

What is published keeps the spelling of the first record. What is compared does not: its digest is
taken of a form in which these make no difference:

- the order of members, white space, and camelCase names, at any depth
- the spelling of a number (``1.0`` and ``1``, ``1e16`` and ``10000000000000000``), at any depth
- a member that is null and one that is absent, at any depth
- an optional metric that is 0, null or absent: SDKs in Go and Java send 0 for what was not measured

Numbers are compared exactly, as they are published. So a number with a fraction or an exponent is
the shortest decimal of its 64-bit float, and an integer is all of its digits.

**Versions.** A digest begins with the version of its form. A release that changes the form adds a
version to `FORMS`, and keeps the older ones for as long as changelogs hold them. A record is
compared in the form of the stored digest, so an upgrade makes no conflicts. An older release that
meets a digest of a newer form cannot compare. It never publishes such an id again, see
`is_same_content`. The rule for rolling upgrades is in docs/protocol.md, "The same content".
"""

import re
from collections.abc import Callable
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import astuple, replace

from schemas.checkpoint import Checkpoint, Metrics

DIGEST_BYTES: Final = 16
WRITTEN_FORM: Final = 1
"""The version of the form that this release writes. It is one of `FORMS`."""

MAX_COMPARED_CONTAINERS: Final = 1_000
MAX_COMPARED_COMMAS: Final = 20_000
"""A document with more lists and objects, or more commas, is compared as it is published, in every
form. A loop over 1 MB of brackets would hold up the process for half a second."""

# msgspec sorts by a quicksort without a bound. In an unlucky order of the names 80,000 members take
# seven seconds, or a recursion that ends the process by SIGSEGV. Few members cannot do that.
_FEW_MEMBERS: Final = 100
_MOST_SORTED_CONTAINERS: Final = 100_000
_CONTAINERS: Final = frozenset({dict, list})

Form = Callable[[dict[str, Any]], dict[str, Any]]

_FIELDS: Final = frozenset(Checkpoint.__struct_fields__)
_METRICS: Final = frozenset(Metrics.__struct_fields__)
# Up to here every integer is a 64-bit float of its own.
_EXACT_AS_FLOAT: Final = 2**53
# What an SDK makes of a snake_case name. The last word may be one letter (`topK` of `top_k`). Two
# capitals in a row are an acronym. No two names of this shape have one snake_case name.
_CAMEL_CASE: Final = re.compile(r"[a-z][a-z0-9]*+(?:[A-Z][a-z0-9]++)*+[A-Z]?+")
_words = re.compile(r"[A-Za-z][a-z0-9]*+").findall
_SAME_IN_EVERY_SPELLING: Final = frozenset({str, bool, type(None)})

# A copy of a fresh hasher costs 0.4 µs less than a new one with its keyword argument.
_new_hasher = blake2b(digest_size=DIGEST_BYTES - 1).copy
_WRITTEN: Final = bytes([WRITTEN_FORM])
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def encode_sorted(document: dict[str, Any], most_members: int) -> bytes:
    """Return the JSON text with the members of every object in the order of their names.

    Large objects of the document are reordered in place before the encoder sorts them again: it
    takes linear time for what is in order. A document with very many lists and objects keeps its
    order, because a loop over them would hold up the process. `most_members` is a bound on the
    members of all objects that costs nothing, such as the colons of the text that the document was
    parsed from.
    """
    if most_members > _FEW_MEMBERS:
        text = _encode(document)
        if text.count(b'":') > _FEW_MEMBERS:
            if text.count(b"[") + text.count(b"{") > _MOST_SORTED_CONTAINERS:
                return text
            _sort_large_objects(document)
    return _encode_sorted(document)


def _sort_large_objects(document: dict[str, Any]) -> None:
    pending: list[Any] = [document]
    while pending:
        container = pending.pop()
        items = container
        if type(container) is dict:
            if len(container) > _FEW_MEMBERS:
                # Code points have the order of their UTF-8. No two names are equal.
                members = sorted(container.items())
                container.clear()
                container.update(members)
            items = container.values()
        pending += [item for item in items if type(item) in _CONTAINERS]


def snake_case(name: str) -> str:
    """Return the wire's spelling of a name that an SDK has made; any other name as it is."""
    if name.islower() or not _CAMEL_CASE.fullmatch(name):
        return name
    return "_".join(_words(name)).lower()


def in_snake_case(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members under their names in the wire's spelling, for what is published.

    A camelCase name stays as it is beside a member of its snake_case name: neither may be lost.
    """
    renamed: dict[str, Any] = {}
    for name, item in members.items():
        wire_name = snake_case(name)
        renamed[name if wire_name in members else wire_name] = item
    return renamed


def known_digest(comparison_form: bytes) -> bytes:
    """Return the digest of a form that is encoded already, see `known_form`."""
    hasher = _new_hasher()
    hasher.update(comparison_form)
    return _WRITTEN + hasher.digest()


def known_form(checkpoint: Checkpoint, canonical: bytes) -> bytes:
    """Return the comparison form of a checkpoint without unknown fields.

    It is the canonical bytes, less the metrics that are 0. `document_digest` comes to the same
    from the parsed document, at ten times the cost.
    """
    numbers = astuple(checkpoint.metrics)
    if 0 not in numbers:
        return canonical
    metrics = Metrics(*[number or None for number in numbers])
    return _encode(replace(checkpoint, metrics=metrics))


def document_digest(
    document: dict[str, Any], canonical: bytes, version: int | None = None
) -> bytes:
    """Return the digest of a document in a form, by default in the one written.

    `canonical` is the document encoded, as it is published.
    """
    if version is None:
        version = WRITTEN_FORM
    hasher = _new_hasher()
    if is_compared_as_published(canonical):
        hasher.update(canonical)
    else:
        hasher.update(encode_sorted(FORMS[version](document), canonical.count(b":")))
    return bytes([version]) + hasher.digest()


def is_compared_as_published(canonical: bytes) -> bool:
    """Tell whether a content is so large that its spelling makes a difference.

    Two spellings of one content have as many lists, objects and values: both get the same answer.
    """
    if canonical.count(b",") > MAX_COMPARED_COMMAS:
        return True
    return canonical.count(b"[") + canonical.count(b"{") > MAX_COMPARED_CONTAINERS


def digest_in(version: int, canonical: bytes) -> bytes | None:
    """Return the digest of canonical bytes in a form; None: this release does not know it."""
    if version not in FORMS:
        return None
    document = {} if is_compared_as_published(canonical) else _decode(canonical)
    return document_digest(document, canonical, version)


def digests(written: bytes, canonical: bytes) -> list[bytes]:
    """Return the digest of a content in every known form, first the one that is `written`."""
    others = (digest_in(version, canonical) for version in FORMS if version != written[0])
    return [written, *filter(None, others)]


def is_same_content(written: bytes, canonical: bytes, stored: bytes) -> bool | None:
    """Tell whether a content is the one of a stored digest.

    `written` is its digest in this release's form. None: the stored digest has a form that only a
    newer release knows, so it cannot be decided here.
    """
    if stored == written:
        return True
    if stored[0] == written[0]:
        return False
    in_its_form = digest_in(stored[0], canonical)
    return None if in_its_form is None else in_its_form == stored


def _first_form(document: dict[str, Any]) -> dict[str, Any]:
    """Return a canonical document in form 1. Known fields have one spelling already."""
    form = _plain_members({name: document[name] for name in document if name not in _FIELDS})
    form.update((name, document[name]) for name in _FIELDS)
    metrics: dict[str, Any] = document["metrics"]
    plain = _plain_members({name: metrics[name] for name in metrics if name not in _METRICS})
    plain.update((name, metrics[name]) for name in _METRICS if metrics.get(name))
    form["metrics"] = plain
    return form


FORMS: Final[dict[int, Form]] = {1: _first_form}
"""Every form that a stored digest may have, by its version. One that was released never changes."""


def _plain(item: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    kind = type(item)
    if kind is dict:
        return _plain_members(item)
    if kind is list:
        return _plain_items(item)
    if kind is float:
        return _plain_float(item)
    return _plain_integer(item) if kind is int else item


def _plain_members(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members that are not null, each under its snake_case name if that is free."""
    plain: dict[str, Any] = {}
    for name, item in members.items():
        if item is None:
            continue
        plain_item = item if type(item) is str else _plain(item)
        if not name.islower():
            wire_name = snake_case(name)
            if members.get(wire_name) is None:
                plain[wire_name] = plain_item
                continue
        plain[name] = plain_item
    return plain


def _plain_items(items: list[Any]) -> list[Any]:
    kinds = set(map(type, items))
    if kinds <= _SAME_IN_EVERY_SPELLING:
        return items
    if kinds == {float}:
        # As in `_plain_float`, whose call would cost as much again.
        return [
            int(number)
            if number.is_integer() and -_EXACT_AS_FLOAT < number < _EXACT_AS_FLOAT
            else number
            for number in items
        ]
    if kinds == {int} and min(items) > -_EXACT_AS_FLOAT and max(items) < _EXACT_AS_FLOAT:
        return items
    return list(map(_plain, items))


def _plain_float(number: float) -> float:
    if number.is_integer() and -_EXACT_AS_FLOAT < number < _EXACT_AS_FLOAT:
        return int(number)
    return number


def _plain_integer(number: int) -> float:
    """Return the float of which a large integer is the published spelling, else itself."""
    if -_EXACT_AS_FLOAT < number < _EXACT_AS_FLOAT:
        return number
    try:
        as_float = float(number)
    except OverflowError:
        return number
    return as_float if int(Decimal(repr(as_float))) == number else number
