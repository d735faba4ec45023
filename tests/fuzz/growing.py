"""Inputs that grow: each family repeats one structure, and its cost must grow as its length does.

A pattern that backtracks, a loop that copies what is left, or a cache without a bound costs nothing
on a short record and blocks the event loop on a long one. So each pattern and each loop that reads
producers' bytes has a family here that repeats what could make it slow.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO, StringIO
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Console

from consumer.cli.dead_letters_text import dead_letters_table, details, details_text
from consumer.cli.tail import _table, structured
from consumer.errors import CheckpointReadyError
from consumer.jobs.backfill.elements import read_elements
from consumer.jobs.backfill.file import Content
from consumer.jobs.redrive.dead_letters import list_entry
from consumer.jobs.redrive.redriven_set import StoredRecord
from consumer.kafka.types import FetchedRecords, TopicPartition
from consumer.pipeline.dead_letters import dead_letter, parse_dead_letter
from consumer.pipeline.decode.json_document import malformed
from consumer.pipeline.model_name import parse_model_name
from consumer.pipeline.records import Header, ShardSettings
from consumer.pipeline.seen_ids import SeenIds
from consumer.pipeline.trace_context import trace_context
from consumer.shard.buffer import Buffer
from consumer.shard.transaction import report
from schemas.ready_event import Origin, ReadyEvent
from tests.builders import (
    STRUCTURED,
    Record,
    batch,
    checkpoint,
    decide,
    envelope,
    record,
    shard_settings,
)
from tests.fuzz.budget import without_collections

FIRST_UNITS: Final = 4096
MOST_BYTES: Final = 1_000_000
MEASURABLE_SECONDS: Final = 0.001
GROWTH: Final = 4
MOST_GROWTH: Final = 6.0
QUADRATIC_GROWTH: Final = 12.0
"""No noise looks as bad as this; a loop in a loop gives 16."""
MOST_SECONDS_PER_MB: Final = 0.4
"""Of a decision. The densest inputs, 70,000 camelCase members for instance, take 0.25 s at rest."""
TRIES: Final = 4
_WIDE: Final = 40_000_000
_BASE: Final = json.dumps(checkpoint()).encode()
_AZURE_JOB: Final = ".ft-" + "0" * 32 + "-"
_TRACEPARENT: Final = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
Call = Callable[[], object]


class Family(NamedTuple):
    """Inputs of one structure; `make` returns what to call for an input of a number of bytes."""

    name: str
    make: Callable[[int], Call]


class Cost(NamedTuple):
    """What a family costs at a length, and at a length four times as large."""

    size_bytes: int
    seconds: float
    seconds_at_four_times: float

    @property
    def growth(self) -> float:
        """How many times more the longer input costs."""
        return self.seconds_at_four_times / self.seconds

    def at_best(self, before: "Cost") -> "Cost":
        """Return the least of this and what was measured before at the same length."""
        return Cost(
            self.size_bytes,
            min(self.seconds, before.seconds),
            min(self.seconds_at_four_times, before.seconds_at_four_times),
        )

    @property
    def seconds_per_mb(self) -> float:
        """What the longer input costs for its length."""
        return self.seconds_at_four_times / (GROWTH * self.size_bytes) * 1_000_000


def measure(family: Family) -> Cost:
    """Return the cost at the first length that can be measured, and at four times that length.

    The processor time of this thread counts, and the least of several tries: another process
    cannot make an input look slow. An input that outgrows a cache of the processor does, once,
    and so does one that is long enough for another way to be taken. So a cost that grows too fast
    is measured again at four times the length, where a quadratic one grows just as fast.
    """
    size_bytes = FIRST_UNITS
    cost = _cost(family, size_bytes)
    while cost.seconds < MEASURABLE_SECONDS and GROWTH**2 * size_bytes <= MOST_BYTES:
        size_bytes *= GROWTH
        cost = _cost(family, size_bytes)
    cost = _at_best(family, cost)
    if cost.growth < MOST_GROWTH:
        return cost
    return _at_best(family, _cost(family, GROWTH * size_bytes))


def _at_best(family: Family, cost: Cost) -> Cost:
    """Measure again while noise can be what makes the cost grow too fast."""
    for _ in range(TRIES):
        if not MOST_GROWTH <= cost.growth < QUADRATIC_GROWTH:
            break
        cost = _cost(family, cost.size_bytes).at_best(cost)
    return cost


def _cost(family: Family, size_bytes: int) -> Cost:
    return Cost(size_bytes, _seconds(family, size_bytes), _seconds(family, GROWTH * size_bytes))


def _seconds(family: Family, size_bytes: int) -> float:
    call = family.make(size_bytes)
    with without_collections():
        seconds = _time(call)
        if seconds < MEASURABLE_SECONDS:  # short calls once more: the first one warms caches
            seconds = min(seconds, _time(call))
    return max(seconds, 1e-6)


def _time(call: Call) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


_SETTINGS: Final = {
    "published": shard_settings(max_bytes=_WIDE, dead_letter_max_bytes=_WIDE),
    "binary": shard_settings(max_bytes=_WIDE, dead_letter_max_bytes=_WIDE, binary_mode=True),
    "cut": shard_settings(max_bytes=2000, dead_letter_max_bytes=6000),
    "forwarded": shard_settings(shard=1, shards=997, max_bytes=_WIDE, dead_letter_max_bytes=_WIDE),
}


def _decide(settings: ShardSettings, one: Record) -> None:
    decide(batch(one), seen=SeenIds(0), settings=settings)


def _fill(unit: bytes, size_bytes: int, before: bytes = b"", after: bytes = b"") -> bytes:
    return before + unit * (size_bytes // len(unit)) + after


# JSON values by how they begin, what is repeated, and how they end.
_JSON: Final[dict[str, tuple[bytes, bytes, bytes]]] = {
    "integers": (b"[", b"0,", b"0]"),
    "floats": (b"[", b"1.5,", b"0]"),
    "floats that grow when written": (b"[", b"1e15,", b"0]"),
    "the least floats": (b"[", b"5e-324,", b"0]"),
    "the largest floats": (b"[", b"1e290,", b"0]"),
    "floats between two": (b"[", b"2.2250738585072011e-308,", b"0]"),
    "floats of 800 digits": (b"[", b"2." + b"2250738585" * 80 + b"e-308,", b"0]"),
    "numbers out of range": (b"[", b"1e999,", b"0]"),
    "integers of 4,000 digits": (b"[", b"7" * 4000 + b",", b"0]"),
    "integers of 4,301 digits": (b"[", b"7" * 4301 + b",", b"0]"),
    "one integer": (b"", b"7", b""),
    "one fraction": (b"0.", b"7", b""),
    "one fraction of zeros": (b"0.", b"0", b"1"),
    "one exponent": (b"1e", b"9", b""),
    "one exponent of zeros": (b"1e", b"0", b"1"),
    "nulls": (b"[", b"null,", b"null]"),
    "objects": (b"[", b"{},", b"{}]"),
    "objects with a member": (b"[", b'{"a":1},', b"{}]"),
    "lists": (b"[", b"[],", b"[]]"),
    "lists in lists": (b"[", b"[[[[]]]],", b"0]"),
    "lists 60 deep": (b"[", b"[" * 60 + b"]" * 60 + b",", b"0]"),
    "open lists": (b"", b"[", b""),
    "open objects": (b"", b'{"a":', b""),
    "closed lists": (b"", b"[]", b""),
    "closing brackets first": (b"", b"]", b"[" * 70),
    "a zigzag of depths": (b"[", b"[[],[[]],[[[]]]],", b"0]"),
    "strings beside brackets": (b"[" + b"{}," * 65, b'"",', b"0]"),
    "strings with escapes beside brackets": (b"[" + b"{}," * 65, b'"\\n\\"",', b"0]"),
    "brackets in a string": (b'"' + b"[]" * 70, b"[{", b'"'),
    "a backslash outside, then strings": (b"{}" * 65 + b"\\", b'"",', b""),
    "one string": (b'"', b"a", b'"'),
    "a string of quotes": (b'"', b'\\"', b'"'),
    "a string of escapes": (b'"', b"\\u00e9", b'"'),
    "a string of surrogates": (b'"', b"\\ud83d\\ude00", b'"'),
    "a string of lone surrogates": (b'"', b"\\ud800", b'"'),
    "a string of control characters": (b'"', b"\\u0001", b'"'),
    "a string of two bytes each": (b'"', "é".encode(), b'"'),
    "a string of four bytes each": (b'"', "\U0001f600".encode(), b'"'),
    "a string that is no UTF-8": (b'"', b"a", b'\xff"'),
    "a string that never ends": (b'"', b"\\\\", b""),
    "empty strings": (b"", b'""', b""),
    "blanks": (b"", b" \t\r\n", b"1"),
}
# What may stand in any text of a checkpoint.
_TEXTS: Final = {
    "letters": "a",
    "two bytes": "é",
    "four bytes": "\U0001f600",
    "percent signs": "%",
    "control characters": "\x01",
    "slashes": "/",
    "colons": ":",
}
_TEXT_FIELDS: Final = (
    "id",
    "object",
    "fine_tuned_model_checkpoint",
    "fine_tuning_job_id",
    "created_at",
    "provider",
    "base_model",
    "uri",
    "expires_at",
)
# Model names by how they begin, what is repeated, and how they end.
_MODEL_NAMES: Final = {
    "azure jobs, then a colon": ("", _AZURE_JOB, ":"),
    "azure jobs": ("a", _AZURE_JOB, ""),
    "azure jobs, then a slash": ("a", _AZURE_JOB, "/"),
    "azure jobs, then no step": ("a", _AZURE_JOB, ":ckpt-step-1x"),
    "azure jobs, short by a digit": ("a", ".ft-" + "0" * 31 + "-", ""),
    "azure marks": ("a", ".ft-", ""),
    "azure digits": ("a.ft-", "0", ""),
    "dots": ("", ".", ""),
    "parts of openai": ("ft:", "a:", ""),
    "openai, colons": ("ft:", ":", ""),
    "steps of openai": ("ft:a:b:c:d", ":ckpt-step-1", ""),
    "a long step": ("ft:a:b:c:d:ckpt-step-", "1", ""),
    "path": ("", "/checkpoint-1", "x"),
    "path, slashes behind": ("/checkpoint-1", "/", ""),
    "path, steps": ("", "checkpoint-1/", "x"),
    "path, digits": ("/checkpoint-", "1", "x"),
    "path, lines": ("", "/checkpoint-1\n", "x"),
    "scheme": ("", "a+", ""),
    "home": ("", "~", ""),
    "dates of mistral": ("ft:mistral-small-latest:01234567", ":20260101", ""),
    "models of mistral": ("ft:", "open-mistral-", ":01234567:20260101:01234567"),
    "suffixes of mistral": ("ft:mistral:01234567:20260101:", "a", ":0123456x"),
    "steps of tinker": ("tinker://", "step-1/", "x"),
    "a long step of tinker": ("tinker://step-", "1", ""),
    "slashes of tinker": ("tinker://", "/", ""),
    "accounts of fireworks": ("", "accounts/", ""),
    "models of fireworks": ("accounts/a", "/models/a", ""),
    "marks of together": ("a/", "-Reference", "-0123456x"),
    "marks of together, then a job": ("a/", "-References", "-01234567"),
    "jobs of together": ("a/b-Reference", "-01234567", ""),
    "slashes of together": ("", "a-Reference/", "-01234567"),
}
_TRACEPARENTS: Final = {
    "blanks": (b"", b" ", b""),
    "blanks before": (b"", b" ", _TRACEPARENT),
    "blanks behind": (_TRACEPARENT, b" ", b""),
    "blanks, then a letter": (_TRACEPARENT, b" ", b"x"),
    "more": (b"01" + _TRACEPARENT[2:] + b"-", b" ", b""),
    "more, then a line": (b"01" + _TRACEPARENT[2:] + b"-", b" ", b"\n"),
    "more, tabs and lines": (b"01" + _TRACEPARENT[2:] + b"-", b"\t\n", b""),
}


def _headers(size_bytes: int) -> dict[str, list[Header]]:
    return {
        "a content type of blanks": [("content-type", b" " * size_bytes)],
        "a long structured content type": [
            ("content-type", _fill(b" ", size_bytes, b"application/cloudevents+json", b";"))
        ],
        "another content type": [("content-type", _fill(b"A", size_bytes, b"application/cloud"))],
        "a spec version": [("ce_specversion", b"\xff" * size_bytes)],
        "a long name": [("A" * size_bytes, b"")],
        "a long name of two bytes": [("é" * (size_bytes // 2), b"")],
        "many": [("a", b"1")] * (size_bytes // 8),
        "many trace contexts": [("traceparent", _TRACEPARENT)] * (size_bytes // 70),
        "many content types": [("content-type", b"text/plain")] * (size_bytes // 24),
        "a long origin": [("checkpoint-ready.origin", b"\x00" * size_bytes)],
    }


def _documents() -> Iterator[tuple[str, Callable[[int], bytes]]]:
    for name, (before, unit, after) in _JSON.items():
        yield f"member, {name}", partial(_make_member, before, unit, after)
        yield f"whole, {name}", partial(_make_whole, before, unit, after)
    yield "many members", _make_members
    yield "many members in camelCase", _make_camel_members
    yield (
        "a member with a long camelCase name",
        partial(_make_whole, b'{"a', b"Bb", b'":1,' + _BASE[1:]),
    )
    yield "many members, the least one last", partial(_make_rotated, 1)
    yield "many members, the greatest one first", partial(_make_rotated, -1)
    yield "one member again and again", partial(_make_whole, b"{", b'"k":1,', _BASE[1:])
    yield "the id again and again", partial(_make_whole, b"{", b'"id":"a",', _BASE[1:])
    before, opening, after = _BASE.partition(b'"metrics": {')
    for unit in (b'"step":88,', b'"trainLoss":null,', b'"train_loss":5e-324,', b'"k":[],'):
        yield f"metrics, {unit.decode()}", partial(_make_whole, before + opening, unit, after)


def _make_whole(before: bytes, unit: bytes, after: bytes, size_bytes: int) -> bytes:
    return _fill(unit, size_bytes, before, after)


def _make_member(before: bytes, unit: bytes, after: bytes, size_bytes: int) -> bytes:
    return _BASE[:-1] + b',"x":' + _fill(unit, size_bytes, before, after) + b"}"


def _make_members(size_bytes: int) -> bytes:
    return b"{" + b"".join(b'"k%d":1,' % at for at in range(size_bytes // 12)) + _BASE[1:]


def _make_camel_members(size_bytes: int) -> bytes:
    names = (b'"k%dAb":1,' % at for at in range(size_bytes // 14))
    return b"{" + b"".join(names) + _BASE[1:]


def _make_rotated(turn: int, size_bytes: int) -> bytes:
    names = [b"%06d" % at for at in range(size_bytes // 11)]
    members = (b'"%b":1' % name for name in names[turn:] + names[:turn])
    return _BASE[:-1] + b',"x":{' + b",".join(members) + b"}}"


def _envelopes() -> Iterator[tuple[str, Callable[[int], bytes]]]:
    def around(**changes: Any) -> bytes:  # noqa: ANN401 - JSON of any shape
        return json.dumps(envelope(**{"data": {}, **changes})).encode()

    yield "base64", lambda n: around(data=..., data_base64="AAAA" * (n // 4))
    yield "base64, no digits", lambda n: around(data=..., data_base64="!" * (n // 4 * 4))
    yield "base64, padding", lambda n: around(data=..., data_base64="=" * (n // 4 * 4))
    yield "base64 of brackets", lambda n: around(data=..., data_base64="W1tb" * (n // 4))
    yield "text of spaces", lambda n: around(data=" " * n)
    yield "text of an object", lambda n: around(data='{"x":"' + "y" * n + '"}')
    yield "text of brackets", lambda n: around(data='{"x":' + "[" * n)
    yield "a long version", lambda n: around(specversion="x" * n)
    yield "a version of lists", lambda n: around(specversion=[[]] * (n // 4))
    yield "a version of integers", lambda n: around(specversion=[10**4000] * (n // 4000))
    yield (
        "data again and again",
        lambda n: _fill(b'"data":{},', n, b'{"specversion":"1.0",', b'"data":{}}'),
    )


def _decided() -> Iterator[Family]:
    for name, make_value in _documents():
        for how in ("published", "cut"):
            yield Family(f"{how}: {name}", partial(_make_decision, how, make_value))
    for name, make_value in _envelopes():
        yield Family(f"envelope: {name}", partial(_make_enveloped, make_value))
    for field in _TEXT_FIELDS:
        for name, unit in _TEXTS.items():
            for how in ("binary", "forwarded"):
                make = partial(_make_text, how, field, unit)
                yield Family(f"{how}: {field} of {name}", make)
    for name in _headers(1):
        for how, value in (("published", _BASE), ("forwarded", _BASE), ("cut", b"x")):
            make = partial(_make_with_headers, how, value, name)
            yield Family(f"{how}: headers, {name}", make)


def _make_decision(how: str, make_value: Callable[[int], bytes], size_bytes: int) -> Call:
    return partial(_decide, _SETTINGS[how], record(raw=make_value(size_bytes)))


def _make_enveloped(make_value: Callable[[int], bytes], size_bytes: int) -> Call:
    one = record(raw=make_value(size_bytes), headers=[STRUCTURED])
    return partial(_decide, _SETTINGS["published"], one)


def _make_text(how: str, field: str, unit: str, size_bytes: int) -> Call:
    one = checkpoint(**{field: unit * (size_bytes // len(unit.encode()))})
    value = json.dumps(one, ensure_ascii=False).encode()
    return partial(_decide, _SETTINGS[how], record(raw=value))


def _make_with_headers(how: str, value: bytes, name: str, size_bytes: int) -> Call:
    one = record(raw=value, headers=_headers(size_bytes)[name])
    return partial(_decide, _SETTINGS[how], one)


def _after_the_decision() -> Iterator[Family]:
    for name, (before, unit, after) in _MODEL_NAMES.items():

        def make_name(n: int, b: str = before, u: str = unit, a: str = after) -> Call:
            return partial(parse_model_name, b + u * (n // len(u)) + a)

        yield Family(f"model name: {name}", make_name)
    for name, parts in _TRACEPARENTS.items():

        def make_trace(n: int, parts: tuple[bytes, bytes, bytes] = parts) -> Call:
            return partial(trace_context, [("traceparent", _fill(parts[1], n, parts[0], parts[2]))])

        yield Family(f"traceparent: {name}", make_trace)
    yield Family("report: a long job", _make_report)
    yield Family("buffer: many headers", _make_buffer)


def _make_report(size_bytes: int) -> Call:
    job_id = "j" * size_bytes
    one = record(checkpoint(fine_tuning_job_id=job_id))
    decision = decide(batch(one), seen=SeenIds(0), settings=_SETTINGS["published"])
    return partial(report, 0, decision, {}, 1.0, {}, sources=())


def _make_buffer(size_bytes: int) -> Call:
    one = record(checkpoint(), headers=_headers(size_bytes)["many"])

    def gather() -> None:
        buffer = Buffer()
        buffer.add({TopicPartition("in", 0): FetchedRecords.of([one])}, lambda _: one.offset + 1)
        buffer.progress_after(0)

    return gather


def _tools() -> Iterator[Family]:
    for name in _headers(1):
        yield Family(f"letter: headers, {name}", partial(_make_letter, name))
    for unit in (b'{"a":1},', b"1,", b'"a",', b"[],\n", b"1,\n"):
        yield Family(f"backfill: a list of {unit!r}", partial(_make_backfill, unit, b"[", b"0]"))
    yield Family("backfill: lines", partial(_make_backfill, b"{}\n", b"", b""))
    yield Family("backfill: cut lines", partial(_make_backfill, b"{\n", b"", b""))
    response = b'{"object":"list","data":['
    yield Family("backfill: a response", partial(_make_backfill, b"{},\n", response, b"{}]}"))
    hidden = b'{"object":"list","d\\u0061ta":['
    yield Family(
        "backfill: a response whose data is hidden",
        partial(_make_backfill, b"{},\n", hidden, b'{}],"x":"data","y":"data"}'),
    )
    yield Family("tail: attributes", _make_attributes)
    yield Family("tail: a table", _make_table)


def _make_letter(name: str, size_bytes: int) -> Call:
    origin = Origin("in", 0, 1, 2)
    source = record(raw=b"\x1b" * size_bytes, headers=_headers(size_bytes)[name])
    made = dead_letter(malformed("no JSON"), origin, source, source.headers, _WIDE)
    letter = Record(7, 0, made.key, made.value, made.headers)

    def show() -> None:
        found = StoredRecord(0, letter, parse_dead_letter(letter), is_redriven=False)
        dead_letters_table([list_entry(found)], is_more=False)
        details_text(details(found, "dead", as_hex=False))

    return show


def _make_backfill(unit: bytes, before: bytes, after: bytes, size_bytes: int) -> Call:
    file = BytesIO(_fill(unit, size_bytes, before, after))
    content = Content.__new__(Content)
    content.name, content.file = "file", file
    content._size_and_mtime = (len(file.getvalue()), 0)  # noqa: SLF001 - of a file that is none

    def read() -> None:
        with suppress(CheckpointReadyError):  # a broken document
            list(read_elements(content))

    return read


def _make_attributes(size_bytes: int) -> Call:
    headers: list[Header] = [(f"ce_a{at}", b"1") for at in range(size_bytes // 10)]
    value = json.dumps({"checkpoint": checkpoint()}).encode()
    one = record(raw=value, headers=[*headers, ("ce_type", b"fine_tuning.job.checkpoint.ready")])
    return partial(structured, one)


def _make_table(size_bytes: int) -> Call:
    name = "m" * size_bytes
    one = record(checkpoint(fine_tuned_model_checkpoint=name))
    (event,) = decide(batch(one), settings=_SETTINGS["published"]).ready
    rows = deque([msgspec.json.decode(event.value, type=ReadyEvent)] * 20)
    console = Console(file=StringIO(), width=120)
    return lambda: console.print(_table(rows, 20))


DECIDED: Final = tuple(_decided())
FAMILIES: Final = (*DECIDED, *_after_the_decision(), *_tools())
