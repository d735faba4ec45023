"""Parsers that were made linear say the same as the patterns that they replaced, given here."""

import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.pipeline.decode.json_document import MAX_DEPTH, _is_too_deep, parse
from consumer.pipeline.model_name import UNRECOGNISED, parse_model_name
from consumer.pipeline.trace_context import TraceContext, parse_traceparent
from schemas.ready_event import Model

OPENAI = re.compile(
    r"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
AZURE = re.compile(
    r"([^:/\\]+)\.ft-[0-9a-f]{32}(?:-([^:/\\]+))?(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
PATH = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)").match
PATH_STEP = re.compile(r"(?:\A|.*[/\\])checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL).fullmatch
MISTRAL = re.compile(
    r"ft:((?:open-)?(?:mistral|mixtral|ministral|codestral|pixtral|magistral|devstral)[^:]*)"
    r":([0-9a-f]{8}):[0-9]{8}(?::([^:]+))?:[0-9a-f]{8}"
).fullmatch
TINKER_STEP = re.compile(
    r"tinker://(?:.*/)?(?:step|checkpoint)[-_]([0-9]{1,18})/?", re.DOTALL
).fullmatch
FIREWORKS = re.compile(r"accounts/([^/\s]+)/models/[^/\s]+").fullmatch
TOGETHER = re.compile(
    r"([^/:\\]+)/([^/:\\]+?-Reference)(?:-([^/:\\]+))?-[0-9a-f]{8}", re.DOTALL
).fullmatch
TRACEPARENT = re.compile(
    rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*"
).fullmatch
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)

names = st.lists(
    st.sampled_from(
        (
            *("ft:", ":", "-", ".", "/", "\\", "a", "F", "0", "\n", "é", "~", "gpt-4", "s3://"),
            *("ft-", ".ft-", ".ft-" + "0" * 32, ".ft-" + "a" * 31, "f" * 32, ".ft-" + "B" * 32),
            *("tinker://", "weights/", "step-", "step_", "accounts/", "/models/", " "),
            *("-Reference", "-", "-0123abcd", "acme/", "ft:open-mistral-7b:0123abcd:20260101"),
            *(":0123abcd", ":20260101", "ft:mistral-small:"),
            *(":ckpt-step-", ":ckpt-step-7", "ckpt-step-", "1" * 18, "checkpoint-", "checkpoint-3"),
        )
    ),
    max_size=9,
).map("".join)
traceparents = st.lists(
    st.sampled_from(
        (
            *(b" ", b"\t", b"\n", b"-", b"00", b"01", b"ff", b"a" * 32, b"b" * 16, b"0" * 32),
            b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
            b"01-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
        )
    ),
    max_size=6,
).map(b"".join)
texts = st.lists(
    st.sampled_from(
        (
            *(b"[", b"]", b"{", b"}", b'"', b'\\"', b"\\\\", b"\\", b"a", b"\n", b"[" * 20),
            *(b"]" * 20, b"{" * 63, b"[]" * 40, b'"[[["', b"}" * 64, b'\\\\"', b"\\n"),
        )
    ),
    max_size=16,
).map(b"".join)


def named(name: str) -> Model:
    """Return what a model name says, by one pattern for each provider."""
    if mistral := MISTRAL(name):
        return Model("mistral", mistral[1], mistral[2], mistral[3], is_final=True)
    model = named_before(name)
    if name.startswith("tinker://"):
        tinker_step = TINKER_STEP(name)
        return Model("tinker", step=None if tinker_step is None else int(tinker_step[1]))
    if model != UNRECOGNISED:
        return model
    if fireworks := FIREWORKS(name):
        return Model("fireworks", organization=fireworks[1])
    if together := TOGETHER(name):
        return Model("together", together[2], together[1], together[3])
    return UNRECOGNISED


def named_before(name: str) -> Model:
    """Return what a model name said when only OpenAI, Azure and paths were recognised."""
    if openai := OPENAI(name):
        base_model, organization, suffix, step = openai.groups()
        number = None if step is None else int(step)
        organization, suffix = organization or None, suffix or None
        return Model("openai", base_model, organization, suffix, number, step is None)
    if azure := AZURE(name):
        base_model, suffix, step = azure.groups()
        number = None if step is None else int(step)
        return Model("azure", base_model, None, suffix, number, step is None)
    if path_step := PATH_STEP(name):
        return Model("path", step=int(path_step[1]))
    return Model("path") if PATH(name) else UNRECOGNISED


def traced(text: bytes) -> TraceContext | None:
    """Return what a traceparent says, by one pattern."""
    if (match := TRACEPARENT(text)) is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace_id == b"0" * 32 or span_id == b"0" * 16:
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), flags.decode())


def is_too_deep(text: bytes) -> bool:
    """Count the brackets outside strings one by one, up to a backslash there."""
    depth = 0
    for mark in STRING.sub(b"", text).partition(b"\\")[0]:
        depth += (mark in b"[{") - (mark in b"]}" and depth > 0)
        if depth > MAX_DEPTH:
            return True
    return False


@given(names)
@settings(max_examples=1000)
def test_model_names(name: str) -> None:
    """Every name says what its pattern says.

    A name that was recognised before the newer providers were says what it said then. Names of
    Mistral and Tinker are the exceptions: they counted as names of OpenAI and as paths.
    """
    model = parse_model_name(name)
    assert model == named(name)
    before = named_before(name)
    assert before in {model, UNRECOGNISED} or model.provider in {"mistral", "tinker"}


@given(traceparents)
def test_traceparents(text: bytes) -> None:
    """Every traceparent says what it said before."""
    assert parse_traceparent(text) == traced(text)


@given(texts)
@settings(max_examples=500)
def test_depths(text: bytes) -> None:
    """The automaton counts as a loop does, strings and escapes included."""
    assert _is_too_deep(text) == is_too_deep(text)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers()))
def test_hard_numbers(numbers: list[float]) -> None:
    """The parser for hard numbers gives the same ones, with the same signs and types."""
    text = msgspec.json.encode([*numbers, -0.0] + [0] * 64).replace(b"]", b",5e-324,1e100]")
    assert repr(parse(text)) == repr(msgspec.json.decode(text))
