"""Encodes canonical JSON, and compares contents by the digest of their *comparison form*.

A published event keeps some differences in the spelling of its source record, such as ``1.0`` and
``1``. The comparison form is the same for records that differ only in:

- the order of members, white space, and camelCase names, at any depth
- the spelling of a number (``1.0`` and ``1``, ``1e16`` and ``10000000000000000``), at any depth
- a member that is null or absent, at any depth
- an optional metric that is 0, null or absent: SDKs in Go and Java send 0 for a missing metric

Otherwise numbers are compared exactly as they are published. A number with a fraction or exponent
is published as the shortest decimal of its 64-bit float. An integer keeps all of its digits.

**Versions.** A digest begins with the version of its form. A release that changes the form adds a
version to `FORMS`, and keeps the older versions while changelogs hold them. A record is compared
in the form of the stored digest, so an upgrade causes no conflicts. An older release cannot compare
a record with a digest of a newer form. It never publishes the id again, but treats the record as a
conflict, see `is_same_content`. For rolling upgrades see docs/protocol.md, "The same content".
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec.structs import astuple, replace

from consumer.pipeline.hashes import versioned_digest
from schemas.checkpoint import Checkpoint, Metrics

DIGEST_BYTES: Final = 16
WRITTEN_FORM: Final = 1
"""The version of the form that this release writes. It is one of `FORMS`."""

MAX_COMPARED_CONTAINERS: Final = 1_000
MAX_COMPARED_COMMAS: Final = 20_000
"""A document with more lists and objects, or more commas, is compared in its published spelling.

This applies to every form. A loop over 1 MB of brackets would block the process for half a second.
"""

# msgspec sorts with a quicksort without a depth limit. With the worst order of names, 80,000
# members take seven seconds, or the recursion ends the process by SIGSEGV. Up to this number of
# members, sorting with msgspec alone is safe.
_FEW_MEMBERS: Final = 100
_MOST_SORTED_CONTAINERS: Final = 100_000
_CONTAINERS: Final = frozenset({dict, list})

Form = Callable[[dict[str, Any]], dict[str, Any]]

OPTIONAL_FIELDS: Final = frozenset(
    {field.name for field in msgspec.structs.fields(Checkpoint) if not field.required}
)
"""The fields of a checkpoint that a producer may leave out."""

_REQUIRED_FIELDS: Final = frozenset(Checkpoint.__struct_fields__) - OPTIONAL_FIELDS
_METRICS: Final = frozenset(Metrics.__struct_fields__)
# Every integer below this limit has its own 64-bit float.
_EXACT_AS_FLOAT: Final = 2**53
# Matches a snake_case name that an SDK has turned into camelCase. The last word may be one letter
# (`topK` for `top_k`). Two capitals in a row are an acronym, which does not match. No two names
# that match have the same snake_case name.
_CAMEL_CASE: Final = re.compile(r"[a-z][a-z0-9]*+(?:[A-Z][a-z0-9]++)*+[A-Z]?+")
_words = re.compile(r"[A-Za-z][a-z0-9]*+").findall
_SAME_IN_EVERY_SPELLING: Final = frozenset({str, bool, type(None)})

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def encode_sorted(document: dict[str, Any], most_members: int) -> bytes:
    """Return the JSON text with the members of every object in the order of their names.

    Objects of more than 100 members are sorted in place first. The encoder then sorts them in
    linear time. A document with more than 100 members in total and more than 100,000 lists and
    objects keeps its order, because a loop over them would block the process. `most_members` is an
    upper limit of the members of all objects. It must be cheap to compute, such as the number of
    colons in the parsed text.
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
                # Code points have the same order as their UTF-8, which the encoder compares. All
                # names differ, so `sorted` never compares the values.
                members = sorted(container.items())
                container.clear()
                container.update(members)
            items = container.values()
        pending += [item for item in items if type(item) in _CONTAINERS]


def snake_case(name: str) -> str:
    """Return the snake_case spelling of an SDK's camelCase name; any other name unchanged."""
    if name.islower() or not _CAMEL_CASE.fullmatch(name):
        return name
    return "_".join(_words(name)).lower()


def in_snake_case(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members under their snake_case names, for publication.

    A camelCase name is unchanged if its snake_case name is also a member, so that both are kept.
    """
    renamed: dict[str, Any] = {}
    for name, item in members.items():
        wire_name = snake_case(name)
        renamed[name if wire_name in members else wire_name] = item
    return renamed


def known_digest(comparison_form: bytes) -> bytes:
    """Return the digest of an encoded comparison form, see `known_form`."""
    return versioned_digest(WRITTEN_FORM, comparison_form)


def known_form(checkpoint: Checkpoint, canonical: bytes) -> bytes:
    """Return the comparison form of a checkpoint without unknown fields.

    It is the canonical bytes without the metrics that are 0. `document_digest` computes the digest
    of the same form from the parsed document, at ten times the cost.
    """
    numbers = astuple(checkpoint.metrics)
    if 0 not in numbers:
        return canonical
    metrics = Metrics(*[number or None for number in numbers])
    return _encode(replace(checkpoint, metrics=metrics))


def document_digest(
    document: dict[str, Any], canonical: bytes, version: int | None = None
) -> bytes:
    """Return the digest of a document in the form of `version`, by default `WRITTEN_FORM`.

    `canonical` is the encoded document, as it is published.
    """
    if version is None:
        version = WRITTEN_FORM
    compared = canonical
    if not is_compared_as_published(canonical):
        compared = encode_sorted(FORMS[version](document), canonical.count(b":"))
    return versioned_digest(version, compared)


def is_compared_as_published(canonical: bytes) -> bool:
    """Return whether a content is so large that it is compared in its published spelling.

    Two spellings of one content have the same number of lists, objects and values, apart from
    members that are null or 0. So both get the same result, unless only these members make one of
    them exceed a limit.
    """
    if canonical.count(b",") > MAX_COMPARED_COMMAS:
        return True
    return canonical.count(b"[") + canonical.count(b"{") > MAX_COMPARED_CONTAINERS


def digest_in(version: int, canonical: bytes) -> bytes | None:
    """Return the digest of canonical bytes in a form; None if this release has no such version."""
    if version not in FORMS:
        return None
    document = {} if is_compared_as_published(canonical) else _decode(canonical)
    return document_digest(document, canonical, version)


def digests(written: bytes, canonical: bytes) -> list[bytes]:
    """Return the digests of a content in every known form. The first is `written`."""
    others = (digest_in(version, canonical) for version in FORMS if version != written[0])
    return [written, *filter(None, others)]


def is_same_content(written: bytes, canonical: bytes, stored: bytes) -> bool | None:
    """Return whether a content has the stored digest, or None if this release cannot compare them.

    `written` is the content's digest in `WRITTEN_FORM`. This release cannot compare them if only a
    newer release knows the form of the stored digest.
    """
    if stored == written:
        return True
    if stored[0] == written[0]:
        return False
    in_its_form = digest_in(stored[0], canonical)
    return None if in_its_form is None else in_its_form == stored


def _first_form(document: dict[str, Any]) -> dict[str, Any]:
    """Return form 1 of a canonical document. Required fields already have their only spelling.

    Optional fields are handled like unknown ones. They were unknown to releases that wrote this
    form, so their digests stay the same.
    """
    others = {name: document[name] for name in document if name not in _REQUIRED_FIELDS}
    form = _plain_members(others)
    form.update((name, document[name]) for name in _REQUIRED_FIELDS)
    metrics: dict[str, Any] = document["metrics"]
    plain = _plain_members({name: metrics[name] for name in metrics if name not in _METRICS})
    plain.update((name, metrics[name]) for name in _METRICS if metrics.get(name))
    form["metrics"] = plain
    return form


FORMS: Final[dict[int, Form]] = {1: _first_form}
"""Every form that a stored digest may have, by version. A released form never changes."""


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
    """Return the members that are not null, under their snake_case names where those are free."""
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
        # The same as `_plain_float`. Calling it would double the cost.
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
    """Return the float whose published digits are those of this integer, or else the integer.

    Between -2**53 and 2**53 always return the integer, because `_plain_float` also turns a whole
    number into an integer there.
    """
    if -_EXACT_AS_FLOAT < number < _EXACT_AS_FLOAT:
        return number
    try:
        as_float = float(number)
    except OverflowError:
        return number
    return as_float if int(Decimal(repr(as_float))) == number else number
