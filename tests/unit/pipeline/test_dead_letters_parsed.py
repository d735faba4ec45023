"""Dead letters are parsed: the error and the original record are restored."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.dead_letters import (
    REDRIVE_HEADER,
    VALUE_SHA256_HEADER,
    VALUE_SIZE_HEADER,
    Audit,
    DeadLetterRecord,
    dead_letter,
    parse_dead_letter,
    redriven_headers,
    redriven_partition,
)
from consumer.pipeline.records import Header, InvalidRecord, Reason, Stage
from consumer.pipeline.routing import partition_for_key
from schemas.ready_event import Origin
from tests.builders import Record, record
from tests.property.strategies import headers, records

ORIGIN = Origin("topic", 3, 42, 1_700_000_000_123)
TOO_LARGE = InvalidRecord(Reason.TOO_LARGE, "it is too large", Stage.TASK_PUT, "RecordTooLarge")
PLENTY_BYTES = 10_000_000
AUDIT = Audit(1, "dead/0:7", "2026-11-23T10:00:00.000Z", "ops@host", 17)
AUDIT_HEADER = (REDRIVE_HEADER, msgspec.json.encode(AUDIT))
OUR_NAMES = ("__connect.errors.topic", "checkpoint-ready.reason", REDRIVE_HEADER)
FORGED: list[Header] = [(VALUE_SHA256_HEADER, b"0" * 64), (VALUE_SIZE_HEADER, b"3")]


def stored_dead_letter(
    source: Record, *, max_bytes: int = PLENTY_BYTES, error: InvalidRecord = TOO_LARGE
) -> Record:
    """Return the record in the dead-letter topic for a source record."""
    letter = dead_letter(error, ORIGIN, source, source.headers, max_bytes)
    return Record(7, 1_800_000_000_000, letter.key, letter.value, letter.headers)


def parsed(stored: Record) -> DeadLetterRecord:
    """Return the parsed dead letter. Fail if the record is not one."""
    letter = parse_dead_letter(stored)
    assert letter is not None
    return letter


@given(
    source=records,
    own=headers
    | st.lists(st.tuples(st.sampled_from(OUR_NAMES), st.none() | st.binary()), max_size=9),
    reason=st.sampled_from(Reason),
    message=st.text(),
    max_bytes=st.sampled_from([3500, PLENTY_BYTES]),
    factor=st.sampled_from([1, 1000]),
)
def test_the_original_comes_back(  # noqa: PLR0913, PLR0917 - one for each thing that may vary
    source: Record, own: list[Header], reason: Reason, message: str, max_bytes: int, factor: int
) -> None:
    """Every record is restored byte for byte from its dead letter, or marked as truncated."""
    value = None if source.value is None else source.value * factor
    source = source._replace(value=value, headers=own)
    error = InvalidRecord(reason, f"it is {message}", Stage.TRANSFORMATION, "Error")
    stored = stored_dead_letter(source, max_bytes=max_bytes, error=error)
    letter = parsed(stored)
    is_whole = (stored.key, stored.value) == (source.key, source.value) and list(
        stored.headers[:-8]
    ) == own
    assert letter.is_cut is not is_whole
    assert (letter.reason, letter.origin, letter.attempts) == (reason, ORIGIN, 0)
    if is_whole:
        assert (letter.key, letter.value, letter.headers) == (source.key, source.value, own)


def test_what_was_wrong_is_read_back() -> None:
    """Stage, error class and message are those of the error."""
    letter = parsed(stored_dead_letter(record(raw=b"value")))
    assert (letter.stage, letter.cause) == ("TASK_PUT", "RecordTooLarge")
    assert (letter.message, letter.whole_value) == ("it is too large", None)


def test_the_audit_header_is_last_and_replaced() -> None:
    """A redriven record ends with one redrive header. The next redrive increments its attempt."""
    own: list[Header] = [("own", b"\xff"), AUDIT_HEADER, ("own", None)]
    attempts, current = [], own
    for expected in (1, 2, 3):
        letter = parsed(stored_dead_letter(record(raw=b"value", headers=current)))
        attempts.append(letter.attempts)
        current = redriven_headers(letter, "dead/0:7", "2026-11-23T10:00:00.000Z", "ops@host")
        assert current[:-1] == own
        name, value = current[-1]
        assert name == REDRIVE_HEADER
        assert msgspec.json.decode(value or b"") == {
            "attempt": expected,
            "dead_letter": "dead/0:7",
            "at": "2026-11-23T10:00:00.000Z",
            "by": "ops@host",
            "timestamp_ms": ORIGIN.timestamp_ms,
        }
    assert attempts == [0, 1, 2]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"7",
        b"\xff",
        b'{"attempt":1}',
        msgspec.json.encode(msgspec.structs.replace(AUDIT, attempt=0)),
        msgspec.json.encode(msgspec.to_builtins(AUDIT) | {"more": 1}),
        msgspec.json.format(msgspec.json.encode(AUDIT), indent=2),
    ],
)
def test_a_header_of_that_name_is_the_producers(value: bytes | None) -> None:
    """Only the exact spelling of this service is a redrive header. Any other value is kept."""
    own: list[Header] = [(REDRIVE_HEADER, value)]
    letter = parsed(stored_dead_letter(record(raw=b"value", headers=own)))
    assert (letter.attempts, letter.headers) == (0, own)


def test_marks_of_a_producer_do_not_make_a_value_cut() -> None:
    """A producer's headers of these names are kept, unless their size exceeds the value."""
    for raw in (b"abc", b"abcd", None):
        letter = parsed(stored_dead_letter(record(raw=raw, headers=FORGED)))
        assert (letter.is_cut, letter.headers) == (False, FORGED)
    for wrong in (FORGED[::-1], [FORGED[0], ("x", b"9"), FORGED[1]], [(FORGED[0][0], b"z")] * 2):
        letter = parsed(stored_dead_letter(record(raw=b"a", headers=wrong)))
        assert (letter.is_cut, letter.headers) == (False, wrong)


def test_a_cut_value_says_how_large_it_was() -> None:
    """Size and digest of the whole value, and the attempts, are known."""
    stored = stored_dead_letter(record(raw=b"v" * 9000, headers=[AUDIT_HEADER]), max_bytes=3000)
    letter = parsed(stored)
    assert letter.is_cut
    assert letter.whole_value is not None
    assert letter.whole_value.size_bytes == 9000
    assert (letter.attempts, letter.headers) == (1, [])


@pytest.mark.parametrize("value", [None, b"", b"small"])
def test_dropped_headers_are_a_cut_too(value: bytes | None) -> None:
    """A record without its headers or its whole key is truncated, even if its value is complete."""
    many: list[Header] = [(f"h{number}", b"x" * 100) for number in range(100)]
    for source in (record(raw=value, headers=many), record(raw=value, key=b"k" * 9000)):
        assert parsed(stored_dead_letter(source, max_bytes=3000)).is_cut


@pytest.mark.parametrize(
    ("index", "header"),
    [
        (0, ("topic", b"topic")),
        (0, ("__connect.errors.topic", b"\xff")),
        (1, ("__connect.errors.partition", b"-1")),
        (1, ("__connect.errors.partition", b"one")),
        (2, ("__connect.errors.offset", None)),
        (6, ("checkpoint-ready.reason", b"boredom")),
        (7, ("checkpoint-ready.timestamp", b"")),
    ],
)
def test_what_is_no_dead_letter_of_ours(index: int, header: Header) -> None:
    """If one of the eight headers is missing or invalid, the record is not a dead letter."""
    stored = stored_dead_letter(record(raw=b"value"))
    trailing = list(stored.headers)
    trailing[index] = header
    assert parse_dead_letter(stored._replace(headers=trailing)) is None
    assert (
        parse_dead_letter(stored._replace(headers=trailing[:index] + trailing[index + 1 :])) is None
    )
    assert parse_dead_letter(stored._replace(headers=[])) is None


def test_the_partition_is_that_of_the_origin() -> None:
    """A record goes to its original partition, or to the partition of its key if that is gone."""
    letter = parsed(stored_dead_letter(record(raw=b"value", key=b"key")))
    assert redriven_partition(letter, 4) == 3
    assert redriven_partition(letter, 3) == partition_for_key(b"key", 3)
    assert redriven_partition(parsed(stored_dead_letter(record(raw=b"value", key=None))), 3) == 0


def test_a_packed_batch_is_known() -> None:
    """A dead letter of a whole batch cannot be redriven as a record."""
    packed = InvalidRecord(
        Reason.TOO_LARGE, "a batch", Stage.VALUE_CONVERTER, "RecordBatchTooLarge"
    )
    assert parsed(stored_dead_letter(record(raw=b"batch"), error=packed)).is_packed
    assert not parsed(stored_dead_letter(record(raw=b"batch"))).is_packed


def test_a_topic_that_no_broker_takes_is_not_ours() -> None:
    """A forged dead letter may name a topic of any length. It is not accepted."""
    for topic in ("t" * 249, "t" * 250, "t/t"):
        letter = dead_letter(TOO_LARGE, ORIGIN, record(), [], PLENTY_BYTES)
        headers = [("__connect.errors.topic", topic.encode()), *letter.headers[1:]]
        found = parse_dead_letter(Record(7, 0, letter.key, letter.value, headers))
        assert (found is not None) == (topic == "t" * 249)
