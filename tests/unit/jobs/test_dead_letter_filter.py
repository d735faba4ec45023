"""The filter of dead letters, and the escaping of what producers sent."""

import pytest

from consumer.errors import ConfigError
from consumer.jobs.ranges import parse_range
from consumer.jobs.redrive.dead_letters import DeadLetterFilter, parse_address, parse_origin
from consumer.pipeline.dead_letters import DeadLetterRecord, dead_letter, parse_dead_letter
from consumer.pipeline.printable import printable
from consumer.pipeline.records import InvalidRecord, Reason, Stage
from schemas.ready_event import Origin
from tests.builders import record

ALL = parse_range([], [], 0)


def dead_letter_of(
    reason: Reason = Reason.TOO_DEEP, topic: str = "in.put", offset: int = 7
) -> DeadLetterRecord:
    """Return a dead letter of partition 3."""
    invalid = InvalidRecord(reason, "why", Stage.VALUE_CONVERTER, "Error")
    origin = Origin(topic, 3, offset, 0)
    made = dead_letter(invalid, origin, record(raw=b"value"), [], 10_000)
    found = parse_dead_letter(record(raw=b"value", headers=made.headers))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("in.put", [True, True, False]),
        ("in.put/3", [True, True, False]),
        ("in.put/3:7", [True, False, False]),
        ("in.put/2", [False, False, False]),
        ("other/3:7", [False, False, True]),
    ],
)
def test_an_origin_is_a_topic_a_partition_or_a_record(text: str, selected: list[bool]) -> None:
    """Each further part of an origin selects fewer records."""
    wanted = DeadLetterFilter(ALL, origins=(parse_origin(text),))
    records = [dead_letter_of(), dead_letter_of(offset=8), dead_letter_of(topic="other")]
    assert [wanted.selects(one) for one in records] == selected


def test_reasons_and_origins_together() -> None:
    """One of the reasons and one of the origins must fit; no reason or origin selects all."""
    reasons = frozenset({Reason.TOO_DEEP, Reason.TOO_LARGE})
    origins = (parse_origin("in.put"), parse_origin("other/9"))
    wanted = DeadLetterFilter(ALL, reasons=reasons, origins=origins)
    assert wanted.selects(dead_letter_of())
    assert wanted.selects(dead_letter_of(Reason.TOO_LARGE))
    assert not wanted.selects(dead_letter_of(Reason.MALFORMED_JSON))
    assert not wanted.selects(dead_letter_of(topic="other"))
    assert not wanted.selects(None)
    assert not DeadLetterFilter(ALL, reasons=reasons).selects(None)
    assert DeadLetterFilter(ALL).selects(None)


@pytest.mark.parametrize("text", ["", "a b", "topic/", "topic/x", "topic/1:", "topic:1", "t/-1"])
def test_wrong_origins(text: str) -> None:
    """A typing error is refused; it must not simply match nothing."""
    with pytest.raises(ConfigError, match="TOPIC/PARTITION:OFFSET"):
        parse_origin(text)


def test_addresses() -> None:
    """An address is what the list shows, and nothing else."""
    assert parse_address("0:17") == (0, 17)
    for text in ("", "17", "0:", ":1", "topic/0:1", "-1:1", "0:1 "):
        with pytest.raises(ConfigError, match="PARTITION:OFFSET"):
            parse_address(text)


def test_control_characters_are_escaped() -> None:
    """Control characters are escaped; line ends and letters of any language stay."""
    assert printable("\x1b[2J\x07 ä\t漢\n\u202e\x9b\r") == "\\x1b[2J\\x07 ä\t漢\n\\u202e\\x9b\\r"
