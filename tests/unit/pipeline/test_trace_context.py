"""What a `traceparent` says, and what is none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.propagators.textmap import DefaultGetter
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from consumer.pipeline.trace_context import TraceContext, parse_traceparent, trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"
PARTS = st.tuples(
    st.sampled_from(["00", "01", "cc", "fe", "ff", "0", "0A", "000"]),
    st.sampled_from([TRACE, "0" * 32, "1" * 31, "1" * 33, TRACE.upper(), "g" * 32]),
    st.sampled_from([SPAN, "0" * 16, "1" * 15, "1" * 17, SPAN.upper()]),
    st.sampled_from(["00", "01", "ff", "1", "0g", "011"]),
).map("-".join)
NEARLY_VALID = st.tuples(
    st.sampled_from(["", " ", "\t", "-", "x"]),
    PARTS,
    st.sampled_from(["", "-", "-more", "-00", " ", "\t ", "x"]),
).map("".join)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-1",
        VALID.upper(),
        VALID.replace("00-", "ff-", 1),
        VALID.replace(TRACE, "0" * 32),
        VALID.replace(SPAN, "0" * 16),
        VALID + "-more",
        VALID + "\n",
        VALID[:-1],
    ],
)
def test_what_is_malformed_is_not_there(text: str) -> None:
    """The specification's examples of what must be ignored."""
    assert parse_traceparent(text.encode()) is None


def test_a_later_version_is_taken_for_what_is_known_of_it() -> None:
    """A later version may append fields."""
    found = TraceContext(TRACE, SPAN, "01")
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-what-else".encode()) == found


def test_one_header_counts_and_two_contradict_each_other() -> None:
    """Null values and other names are ignored. Several contexts count as none."""
    header = ("traceparent", VALID.encode())
    assert trace_context([]) is None
    assert trace_context([("Traceparent", b"x"), ("traceparent", None)]) is None
    assert trace_context([("traceparent", None), header]) == TraceContext(TRACE, SPAN, "01")
    assert trace_context([header, header]) is None
    of_event = ("ce_traceparent", VALID.encode())
    assert trace_context([of_event]) == TraceContext(TRACE, SPAN, "01")
    assert trace_context([of_event, ("traceparent", b"x")]) is None


@given(NEARLY_VALID | st.text(st.characters(max_codepoint=127, exclude_characters="\n")))
@example(VALID)
def test_it_is_read_as_opentelemetry_reads_it(text: str) -> None:
    """The propagator of OpenTelemetry gives the same result for any text."""
    context = TraceContextTextMapPropagator().extract({"traceparent": text}, getter=DefaultGetter())
    expected = get_current_span(context).get_span_context()
    found = parse_traceparent(text.encode())
    assert (found is not None) == expected.is_valid
    if found is not None:
        assert int(found.trace_id, 16) == expected.trace_id
        assert int(found.span_id, 16) == expected.span_id


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "x"]), st.binary() | st.none())))
def test_no_header_makes_it_raise(headers: list[tuple[str, bytes | None]]) -> None:
    """Headers may be any bytes. Random bytes are no span."""
    assert trace_context(headers) is None
