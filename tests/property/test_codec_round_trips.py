"""Any way to write a content decodes to the same bytes, and what is published says the same."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.decode import checkpoint
from consumer.pipeline.decode.canonical import WRITTEN_FORM, digest_in, is_same_content
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import InvalidRecord
from tests.builders import STRUCTURED, batch, camel, decide, envelope, record
from tests.property.strategies import checkpoints, json_values, name, spellings, values


@given(fields=checkpoints(), draw=st.data())
def test_spellings_decode_to_the_same_bytes(fields: dict[str, Any], draw: st.DataObject) -> None:
    """Wire and SDK names, order, white space, whole floats and nulls make no difference."""
    plain = decode(json.dumps(fields).encode())
    other = decode(draw.draw(spellings(fields)))
    assert (other.canonical, other.digest) == (plain.canonical, plain.digest)
    assert (other.id, other.job_id) == (fields["id"], fields["fine_tuning_job_id"])


@given(fields=checkpoints())
def test_the_fast_path_equals_the_slow_one(fields: dict[str, Any]) -> None:
    """A document that the fast path takes gives the same bytes on the slow one."""
    for spelled in (fields, camel(fields)):
        payload = json.dumps(spelled).encode()
        fast, slow = decode(payload), checkpoint._decode_slowly(payload)  # noqa: SLF001 - compared here
        assert (fast.canonical, fast.digest) == (slow.canonical, slow.digest)
        assert (fast.id, fast.job_id) == (slow.id, slow.job_id)


@given(payload=values)
def test_whatever_the_fast_path_takes_the_slow_one_takes(payload: bytes | None) -> None:
    """For any bytes both paths agree on content, or agree that it is poison."""
    try:
        slow = checkpoint._decode_slowly(payload) if payload else None  # noqa: SLF001 - compared here
    except InvalidRecord:
        slow = None
    try:
        fast = decode(payload)
    except InvalidRecord:
        assert slow is None
    else:
        assert slow is not None
        assert fast.canonical == slow.canonical


@given(fields=checkpoints(), extra=st.dictionaries(name.map("x-{}".format), json_values))
def test_canonical_bytes_keep_the_content(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """Reading the canonical bytes gives the source object, and decoding them changes nothing."""
    decoded = decode(json.dumps(fields | extra).encode())
    assert json.loads(decoded.canonical) == fields | extra
    assert decode(decoded.canonical).canonical == decoded.canonical


@given(fields=checkpoints(), draw=st.data())
def test_output_bytes_do_not_depend_on_the_spelling(
    fields: dict[str, Any], draw: st.DataObject
) -> None:
    """Ready events of one content at one place are equal to the byte."""
    wrapped = json.dumps(envelope(fields)).encode()
    sources = [
        record(fields),
        record(raw=draw.draw(spellings(fields))),
        record(raw=wrapped, headers=[STRUCTURED]),
    ]
    plain, spelled, enveloped = (decide(batch(source)).ready[0] for source in sources)
    assert plain == spelled == enveloped


@given(
    fields=checkpoints(),
    extra=st.dictionaries(name.map("x-{}".format) | st.just("aBc"), json_values),
)
def test_the_digest_is_that_of_the_canonical_bytes(
    fields: dict[str, Any], extra: dict[str, Any]
) -> None:
    """On the fast path and on the slow one it can be taken again from what was published."""
    for document in (fields, fields | extra):
        decoded = decode(json.dumps(document).encode())
        assert digest_in(WRITTEN_FORM, decoded.canonical) == decoded.digest
        assert is_same_content(decoded.digest, decoded.canonical, decoded.digest)
