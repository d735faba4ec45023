"""Which dead letters a command is about, and how people see what producers sent."""

import pytest

from consumer.errors import ConfigError
from consumer.jobs.ranges import parse_range
from consumer.jobs.redrive.selection import Wanted, parse_address, parse_origin
from consumer.pipeline.dead_letters import DeadLetterRecord, dead_letter, parse_dead_letter
from consumer.pipeline.printable import printable
from consumer.pipeline.records import InvalidRecord, Reason, Stage
from schemas.ready_event import Origin
from tests.builders import record

ALL = parse_range([], [], 0)


def letter(
    reason: Reason = Reason.TOO_DEEP, topic: str = "in.put", offset: int = 7
) -> DeadLetterRecord:
    """Return a dead letter of partition 3."""
    poison = InvalidRecord(reason, "why", Stage.VALUE_CONVERTER, "Error")
    origin = Origin(topic, 3, offset, 0)
    made = dead_letter(poison, origin, record(raw=b"value"), [], 10_000)
    found = parse_dead_letter(record(raw=b"value", headers=made.headers))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("in.put", [True, True, False]),
        ("in.put/3", [True, True, False]),
        ("in.put/3:7", [True, False, False]),
        ("in.put/2", [False, False, False]),
        ("other/3:7", [False, False, True]),
    ],
)
def test_an_origin_is_a_topic_a_partition_or_a_record(text: str, takes: list[bool]) -> None:
    """Each further part of an origin narrows it."""
    wanted = Wanted(ALL, origins=(parse_origin(text),))
    letters = [letter(), letter(offset=8), letter(topic="other")]
    assert [wanted.takes(one) for one in letters] == takes


def test_reasons_and_origins_together() -> None:
    """One of the reasons and one of the origins must fit; without any all is meant."""
    reasons = frozenset({Reason.TOO_DEEP, Reason.TOO_LARGE})
    origins = (parse_origin("in.put"), parse_origin("other/9"))
    wanted = Wanted(ALL, reasons=reasons, origins=origins)
    assert wanted.takes(letter())
    assert wanted.takes(letter(Reason.TOO_LARGE))
    assert not wanted.takes(letter(Reason.MALFORMED_JSON))
    assert not wanted.takes(letter(topic="other"))
    assert not wanted.takes(None)
    assert not Wanted(ALL, reasons=reasons).takes(None)
    assert Wanted(ALL).takes(None)


@pytest.mark.parametrize("text", ["", "a b", "topic/", "topic/x", "topic/1:", "topic:1", "t/-1"])
def test_what_is_no_origin(text: str) -> None:
    """A slip of the pen is refused instead of matching nothing."""
    with pytest.raises(ConfigError, match="TOPIC/PARTITION:OFFSET"):
        parse_origin(text)


def test_addresses() -> None:
    """An address is what the list shows, and nothing else."""
    assert parse_address("0:17") == (0, 17)
    for text in ("", "17", "0:", ":1", "topic/0:1", "-1:1", "0:1 "):
        with pytest.raises(ConfigError, match="PARTITION:OFFSET"):
            parse_address(text)


def test_a_producer_cannot_move_the_terminal() -> None:
    """Control characters are spelled out; lines and letters of any language stay."""
    assert printable("\x1b[2J\x07 ä\t漢\n\u202e\x9b\r") == "\\x1b[2J\\x07 ä\t漢\n\\u202e\\x9b\\r"
