"""Dead letters fit whatever is in them, and lose no more than they must."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.dead_letters import TRAILING_HEADERS, dead_letter
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import InvalidRecord, Reason, Stage
from schemas.ready_event import Origin
from tests.builders import Record
from tests.property.strategies import records

ROOM_FOR_OUR_HEADERS_BYTES = 3500


@given(
    source=records,
    message=st.text(),
    max_bytes=st.integers(ROOM_FOR_OUR_HEADERS_BYTES, ROOM_FOR_OUR_HEADERS_BYTES + 2000),
    factor=st.sampled_from([1, 1000]),
)
def test_a_dead_letter_fits(source: Record, message: str, max_bytes: int, factor: int) -> None:
    """Key, value and headers of any size become a batch within the limit."""
    record = source._replace(
        key=None if source.key is None else source.key * factor,
        value=None if source.value is None else source.value * factor,
        headers=list(source.headers) * factor,
    )
    poison = InvalidRecord(Reason.INTERNAL_ERROR, message, Stage.TRANSFORMATION, "Error")
    letter = dead_letter(poison, Origin("t", 0, 0, 0), record, record.headers, max_bytes)
    assert batch_bytes(letter.key, letter.value, letter.headers) <= max_bytes
    kept = len(letter.headers) - TRAILING_HEADERS
    assert [name for name, _ in letter.headers[kept:]][-2:] == [
        "checkpoint-ready.reason",
        "checkpoint-ready.timestamp",
    ]
    assert (record.value or b"").startswith(letter.value or b"")
    if letter.key != record.key:
        assert (record.key or b"").startswith(letter.key or b"")
        assert not letter.value, "the key is cut last"
        assert kept in {0, 2}, "only the marks of a cut value stand before ours"
