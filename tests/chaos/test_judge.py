"""The judge's own judgement: a history that is sound, and each way to spoil it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.chaos import judge
from tests.chaos.findings import shown
from tests.chaos.history import TOPICS, History, is_conflict

if TYPE_CHECKING:
    from tests.chaos.findings import Findings
    from tests.support.reader import Record


@pytest.fixture
def history() -> History:
    """Make a sound history."""
    return History()


def event_of(record: Record) -> dict[str, object]:
    """Return a ready event's document."""
    found: dict[str, object] = json.loads(record.value or b"")
    return found


def data_of(record: Record) -> dict[str, dict[str, object]]:
    """Return the payload of a ready event."""
    found: dict[str, dict[str, object]] = json.loads(record.value or b"")["data"]
    return found


def origin_of(record: Record) -> dict[str, object]:
    """Return the origin that a ready event names."""
    return data_of(record)["origin"]


def place_of(record: Record) -> dict[str, object]:
    """Return an input record's place as a ready event names it."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }


def only(findings: Findings, kind: str) -> str:
    """Return the sentence of the only violation, which is of this kind."""
    (sentence,) = findings.sentences()
    assert sentence.startswith(f"{kind}: ")
    return sentence


def test_a_sound_history_has_no_violation(history: History) -> None:
    """All kinds of records are there, each became what it must, and nothing is reported."""
    assert history.judged().sentences() == []
    assert len(history.ready) > 100
    assert len(history.conflicts()) > 5
    assert len(history.letters) - len(history.conflicts()) > 5


def test_a_lost_id(history: History) -> None:
    """An id without a ready event is lost; that the changelog has it is a contradiction as well."""
    lost = event_of(history.ready.pop(7))["id"]
    findings = history.judged()
    assert findings.count(judge.LOST) == findings.count(judge.CHANGELOG) == 1
    assert all(shown(lost) in sentence for sentence in findings.sentences())


def test_an_id_lost_everywhere(history: History) -> None:
    """An id that is in no topic at all but the input is missed all the same."""
    key = str(event_of(history.ready.pop(7))["id"])
    for keys in history.changelog.values():
        keys[:] = [one for one in keys if one != key]
    only(history.judged(), judge.LOST)


def test_a_doubled_id(history: History) -> None:
    """A second ready event of an id is told with its place."""
    again = history.ready[7]._replace(partition=1)
    history.ready.append(again)
    assert again.place in only(history.judged(), judge.TWICE)


def test_a_doubled_id_of_another_source_record(history: History) -> None:
    """So is one that comes from another record of the same id and content."""
    index, first = next(
        (index, record)
        for index, record in enumerate(history.input)
        if any(record.value == later.value for later in history.input[index + 1 :])
        and any(dict(origin_of(r)) == place_of(record) for r in history.ready)
    )
    repeat = next(r for r in history.input[index + 1 :] if r.value == first.value)
    event = next(r for r in history.ready if origin_of(r) == place_of(first))
    document = event_of(event)
    document["data"] = {**data_of(event), "origin": place_of(repeat)}
    value = json.dumps(document).encode()
    history.ready.append(event._replace(partition=1, value=value))
    only(history.judged(), judge.TWICE)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "another"},
        {"partitionkey": "another"},
        {"type": "another"},
        {"id": "another"},
        {"data": {}},
    ],
)
def test_a_wrong_ready_event(history: History, change: dict[str, object]) -> None:
    """An event with a wrong attribute, or that cannot be understood, is told with its place."""
    record = history.ready[3]
    value = json.dumps({**event_of(record), **change}).encode()
    history.ready[3] = record._replace(value=value)
    findings = history.judged()
    assert findings.count(judge.WRONG_EVENT) >= 1
    assert any(record.place in sentence for sentence in findings.sentences())


@pytest.mark.parametrize(
    ("part", "change"),
    [("checkpoint", {"step_number": -1}), ("checkpoint", {"more": 1}), ("origin", {"offset": 10})],
)
def test_a_ready_event_of_other_content(
    history: History, part: str, change: dict[str, object]
) -> None:
    """An event whose content or origin is not that of a record of its id is wrong."""
    record = history.ready[3]
    data = data_of(record)
    data[part] |= change
    value = json.dumps({**event_of(record), "data": data}).encode()
    history.ready[3] = record._replace(value=value)
    assert history.judged().count(judge.WRONG_EVENT) == 1


def test_a_wrong_key_of_a_ready_event(history: History) -> None:
    """The key must be the job."""
    history.ready[3] = history.ready[3]._replace(key=b"another")
    only(history.judged(), judge.WRONG_EVENT)


def test_an_event_of_an_invalid_record(history: History) -> None:
    """An id that was never validly sent must not be published."""
    record = history.ready[3]
    value = json.dumps({**event_of(record), "id": "invented"}).encode()
    history.ready.append(record._replace(offset=len(history.ready), value=value))
    assert any("no such id" in sentence for sentence in history.judged().sentences())


def test_a_swapped_order(history: History) -> None:
    """Two events of one shard from one input partition that changed places are told."""
    place = [(origin_of(r)["partition"], r.headers) for r in history.ready]
    other = place.index(place[0], 1)
    ready = history.ready
    ready[0], ready[other] = ready[other], ready[0]
    findings = history.judged()
    assert 0 < findings.count(judge.ORDER) == len(findings.sentences())


def test_a_swapped_order_of_dead_letters(history: History) -> None:
    """So are two dead letters of invalid records."""
    invalid = [i for i, letter in enumerate(history.letters) if not is_conflict(letter)]
    letters, first = history.letters, invalid[0]
    partition = dict(letters[first].headers)["__connect.errors.partition"]
    second = next(
        i
        for i in invalid[1:]
        if dict(letters[i].headers)["__connect.errors.partition"] == partition
    )
    letters[first], letters[second] = letters[second], letters[first]
    findings = history.judged()
    assert 0 < findings.count(judge.ORDER) == len(findings.sentences())


@pytest.mark.parametrize("part", ["key", "value", "headers", "a header's order", "more headers"])
def test_an_altered_dead_letter(history: History, part: str) -> None:
    """A dead letter with another key, value or producer's header is told, whatever was changed."""
    index = next(i for i, one in enumerate(history.letters) if one.value and len(one.headers) > 10)
    letter = history.letters[index]
    own, trailing = letter.headers[:-8], letter.headers[-8:]
    history.letters[index] = {
        "key": letter._replace(key=b"another"),
        "value": letter._replace(value=(letter.value or b"")[:-1]),
        "headers": letter._replace(headers=[*own[:-1], (own[-1][0], b"another"), *trailing]),
        "a header's order": letter._replace(headers=[*own[::-1], *trailing]),
        "more headers": letter._replace(headers=[("one", b"more"), *letter.headers]),
    }[part]
    assert letter.place in only(history.judged(), judge.WRONG_LETTER)


def test_a_lost_and_a_doubled_dead_letter(history: History) -> None:
    """Each invalid record has exactly one dead letter."""
    invalid = [i for i, letter in enumerate(history.letters) if not is_conflict(letter)]
    del history.letters[invalid[0]]
    assert "has no dead letter" in only(history.judged(), judge.LOST)
    history.letters.append(history.letters[invalid[1]])
    assert history.judged().count(judge.LETTER_TWICE) == 1


def test_a_lost_and_a_doubled_conflict(history: History) -> None:
    """Each content that contradicts the published one has exactly one dead letter."""
    first, second, *_ = history.conflicts()
    refused = history.letters.pop(second)
    assert "has no dead letter" in only(history.judged(), judge.LOST)
    history.letters += [refused, history.letters[first]]
    assert "already" in only(history.judged(), judge.LETTER_TWICE)


def test_the_published_content_must_not_be_refused(history: History) -> None:
    """A dead letter of a repeat of what was published is wrong, and so is one of a valid record."""
    record = next(
        r for r in history.input if any(origin_of(e) == place_of(r) for e in history.ready)
    )
    trailing = history.letters[history.conflicts()[0]].headers[-8:]
    place = {
        "__connect.errors.partition": str(record.partition).encode(),
        "__connect.errors.offset": str(record.offset).encode(),
        "checkpoint-ready.timestamp": str(record.timestamp_ms).encode(),
    }
    headers = [(name, place.get(name, text)) for name, text in trailing]
    letter = record._replace(topic=TOPICS.dead_letters, headers=[*record.headers, *headers])
    history.letters.append(letter)
    assert "is the published one" in only(history.judged(), judge.WRONG_LETTER)
    named = dict(headers) | {"checkpoint-ready.reason": b"internal_error"}
    history.letters[-1] = letter._replace(headers=[*record.headers, *named.items()])
    assert "it is a valid record" in only(history.judged(), judge.WRONG_LETTER)


def test_a_dead_letter_from_nowhere(history: History) -> None:
    """A dead letter that names no input record is wrong."""
    letter = history.letters[0]
    named = dict(letter.headers[-8:]) | {"__connect.errors.offset": b"999999"}
    history.letters.append(letter._replace(headers=[*letter.headers[:-8], *named.items()]))
    only(history.judged(), judge.WRONG_LETTER)


def test_changelog_entries(history: History) -> None:
    """An id that is missing, strange, or on another shard's partition of the changelog is told."""
    keys = history.changelog[0]
    moved = keys.pop()
    assert "not in the changelog" in only(history.judged(), judge.CHANGELOG)
    history.changelog[1].append(moved)
    assert "has published it" in only(history.judged(), judge.CHANGELOG)
    keys.append(moved)
    assert "as well" in history.judged().sentences()[-1]
    history.changelog[1].pop()
    keys.append("invented")
    assert "never sent" in only(history.judged(), judge.CHANGELOG)
