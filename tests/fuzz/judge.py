"""The judge: a shard's decisions about records, compared with what the oracle says of each."""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from murmurhash2 import murmurhash2

from consumer.pipeline.decider import Decider, Decision, apply
from consumer.pipeline.records import DeadLetter, ReadyRecord, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import MAX_VARIANTS_PER_ID, SeenIds
from tests.builders import NO_CEILING_MS, TOPIC, Record, shard_settings
from tests.fuzz.budget import Slowest, TimedRecords, check_budget
from tests.fuzz.oracle import Content, Headers, expected_evaluation, expected_time, read

MAX_ID_CHARS: Final = 32_768
OUR_HEADERS: Final = 8
_GROWTH: Final = 6  # no text but one number grows more when it is written again
_SLACK: Final = 8192
_ORIGIN: Final = struct.Struct(">iqq")
_PROVIDERS: Final = {
    *("openai", "azure", "mistral", "together", "fireworks", "tinker"),
    *("path", "unrecognised"),
}


class Disagreement(AssertionError):
    """The service and the oracle differ about a record; the message holds all of it."""


class Forward(NamedTuple):
    """A record on its way to another shard, as it will arrive there."""

    shard: int
    record: Record


Outcome = ReadyRecord | DeadLetter | Forward


class Shard:
    """One shard of the service, and beside it what the oracle thinks that it has published."""

    def __init__(self, settings: ShardSettings | None = None) -> None:
        """Start with an empty memory."""
        self.settings = settings or shard_settings()
        self._seen = SeenIds(0)
        self._decider = Decider(self.settings, self._seen)
        self._published: dict[str, str] = {}
        self._refused: dict[str, set[str]] = {}
        self.slowest = Slowest()

    def judge(
        self, records: Sequence[Record], *, forwarded: bool = False
    ) -> tuple[Counter[str], list[Forward]]:
        """Let the shard decide, commit, compare; return the outcomes and what it forwards.

        Raises:
            Disagreement: the service and the oracle differ.
            TooSlow: a record costs more than its budget.
        """
        decision, timed = Decision(), TimedRecords(records)
        batch = SourceBatch(TOPIC, 0, timed, forwarded)
        self._decider.decide(batch, decision, NO_CEILING_MS)
        found_slowest = check_budget(timed, self.settings, forwarded=forwarded)
        self.slowest = max(self.slowest, found_slowest)
        apply(self._seen, decision)
        outcomes: Counter[str] = Counter()
        forwards: list[Forward] = []
        found = _by_offset(decision, len(records))
        for record in records:
            original = record._replace(headers=record.headers[:-1]) if forwarded else record
            outcome = found.pop(record.offset, None)
            try:
                name = self._compare(original, outcome)
            except (AssertionError, LookupError, ValueError) as error:
                shown = (original.value or b"")[:3000]
                message = f"{error!s}\nvalue {shown!r}\nheaders {original.headers[:20]!r}"
                raise Disagreement(f"{message}\nthe service: {str(outcome)[:3000]}") from error
            outcomes[name] += 1
            if isinstance(outcome, Forward):
                forwards.append(outcome)
        assert not found, f"decided about records that were never there: {sorted(found)}"
        counts = decision.counts
        assert counts.duplicates == outcomes["duplicate"], "the count of duplicates"
        assert counts.consumed == len(records), "the count of records"
        return outcomes, forwards

    def _compare(self, record: Record, outcome: Outcome | None) -> str:
        """Return the outcome in a word, or raise what is wrong with it."""
        content = read(record.value, record.headers)
        if isinstance(content, str):
            _check_dead_letter(record, outcome, content, self.settings)
            return content
        home = self._home(content.id)
        if home != self.settings.shard:
            return self._check_forward(record, outcome, home)
        published = self._published.get(content.id)
        if published is not None:
            refused = self._refused.setdefault(content.id, set())
            if content.same == published or content.same in refused:
                assert outcome is None, "a duplicate must leave nothing behind"
                return "duplicate"
            if len(refused) < MAX_VARIANTS_PER_ID:
                refused.add(content.same)
            _check_dead_letter(record, outcome, "conflicting_duplicate", self.settings)
            return "conflicting_duplicate"
        limits = self.settings.limits
        if isinstance(outcome, DeadLetter):
            assert len(content.id) > MAX_ID_CHARS or _may_exceed(
                content, record, limits.ready_max_bytes
            ), f"expected a ready event, not {outcome.reason}: {outcome.message}"
            _check_dead_letter(record, outcome, "too_large", self.settings)
            return "too_large"
        assert isinstance(outcome, ReadyRecord), "expected a ready event"
        assert len(content.id) <= MAX_ID_CHARS, "its id is too long for the changelog"
        room = limits.ready_max_bytes
        assert _fits(outcome.key, outcome.value, outcome.headers, room), "it does not fit its topic"
        _check_event(record, outcome, content)
        self._published[content.id] = content.same
        return "published"

    def _home(self, checkpoint_id: str) -> int:
        positive = int(murmurhash2(checkpoint_id.encode(), 0x9747B28C)) & 0x7FFFFFFF
        return positive % self.settings.shards

    def _check_forward(self, record: Record, outcome: Outcome | None, home: int) -> str:
        if isinstance(outcome, DeadLetter):
            place = _ORIGIN.pack(0, record.offset, record.timestamp) + TOPIC.encode()
            headers = [*record.headers, ("checkpoint-ready.origin", place)]
            size = batch_bytes(record.key, record.value, headers)
            assert size > self.settings.limits.forward_max_bytes, "expected a forward"
            _check_dead_letter(record, outcome, "too_large", self.settings)
            return "too_large"
        assert isinstance(outcome, Forward), "expected a forward"
        assert outcome.shard == home, "forwarded to another shard than the id's home"
        assert outcome.record[2:4] == record[2:4], "a forward has the key and value of its record"
        assert outcome.record.headers[:-1] == list(record.headers), "and its headers"
        return "forwarded"


def _by_offset(decision: Decision, count: int) -> dict[int, Outcome]:
    """Return what was decided about each record."""
    found: dict[int, Outcome] = {}
    total = 0
    settled: list[ReadyRecord | DeadLetter] = [*decision.ready, *decision.dead_letters]
    for one in settled:
        total += 1
        assert (one.origin.topic, one.origin.partition) == (TOPIC, 0), "another topic's record"
        found[one.origin.offset] = one
    for sent in decision.forwards:
        total += 1
        place = sent.headers[-1][1] or b""
        _, offset, _ = _ORIGIN.unpack_from(place)
        arrived = Record(offset, sent.timestamp_ms, sent.key, sent.value, sent.headers)
        found[offset] = Forward(sent.shard, arrived)
    assert total == len(found) <= count, "two outcomes of one record"
    return found


def _check_dead_letter(
    record: Record, outcome: object, reason: str, settings: ShardSettings
) -> None:
    assert isinstance(outcome, DeadLetter), f"expected a dead letter: {reason}"
    assert outcome.reason == reason, f"expected {reason}, not {outcome.reason}: {outcome.message}"
    headers = list(record.headers)
    ours = dict(outcome.headers[-OUR_HEADERS:])
    assert len(ours) == OUR_HEADERS, "one of our headers is there twice"
    assert ours["checkpoint-ready.reason"] == reason.encode(), "the header of the reason"
    assert ours["__connect.errors.offset"] == b"%d" % record.offset, "the header of the offset"
    room = settings.limits.dead_letter_max_bytes
    assert _fits(outcome.key, outcome.value, outcome.headers, room), "it does not fit"
    if outcome.headers[:-OUR_HEADERS] == headers:
        assert outcome.key == record.key, "another key"
        assert outcome.value == record.value, "another value"
        return
    whole = batch_bytes(record.key, record.value, [*headers, *outcome.headers[-OUR_HEADERS:]])
    assert whole > room, "cut though it would have fitted"
    assert (record.value or b"").startswith(outcome.value or b""), "another value"
    assert (record.key or b"").startswith(outcome.key or b""), "another key"


def _check_event(record: Record, event: ReadyRecord, content: Content) -> None:
    found = json.loads(event.value)
    data = found["data"]
    _equal("checkpoint", json.dumps(data["checkpoint"], sort_keys=True), content.text)
    for name, wanted in (
        ("specversion", "1.0"),
        ("id", content.id),
        ("subject", content.id),
        ("type", "fine_tuning.job.checkpoint.ready"),
        ("partitionkey", content.job_id),
        ("time", expected_time(content.document["created_at"])),
    ):
        _equal(name, found[name], wanted)
    _equal("key", event.key, content.job_id.encode())
    _equal("evaluation", data["evaluation"], expected_evaluation(content.document["metrics"]))
    origin = data["origin"]
    _equal("origin", (origin["offset"], origin["timestamp_ms"]), (record.offset, record.timestamp))
    provider, base_model = map(content.document.get, ("provider", "base_model"))
    if provider is None:
        assert data["model"]["provider"] in _PROVIDERS, "an unknown provider"
    else:
        _equal("provider", data["model"]["provider"], provider)
    if base_model is not None:
        _equal("base model", data["model"]["base_model"], base_model)
    assert found["source"].isascii(), "source is no URI reference"
    _equal("headers", list(event.headers[2:]), content.trace)


def _equal(what: str, found: Any, wanted: Any) -> None:  # noqa: ANN401 - of any type
    assert found == wanted, f"{what} is {found!r:.1000}, expected {wanted!r:.1000}"


def _may_exceed(content: Content, record: Record, max_bytes: int) -> bool:
    """Tell whether the event may be too large; only where that is near is it worked out."""
    traces = sum(len(name) + len(found or b"") for name, found in content.trace)
    rough = len(record.value or b"") * _GROWTH + traces + _SLACK
    if rough <= max_bytes:
        return False
    written = json.dumps(content.document, ensure_ascii=False, separators=(",", ":")).encode()
    ids = len(content.id.encode()) * _GROWTH * 2 + len(content.job_id.encode()) * _GROWTH * 2
    return len(written) + ids + traces + _SLACK > max_bytes


def _fits(key: bytes | None, value: bytes | None, headers: Headers, max_bytes: int) -> bool:
    """Tell whether a batch of that record fits; measured only where that is not plain to see."""
    rough = len(key or b"") + len(value or b"")
    for name, found in headers:
        rough += len(name) * 4 + len(found or b"") + 10
    return rough + 100 <= max_bytes or batch_bytes(key, value, headers) <= max_bytes


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the size of Kafka's batch (format 2) of one record, field by field."""
    size = 3 + _with_length(key) + _with_length(value) + len(_varint(len(headers)))
    for name, found in headers:
        size += _with_length(name.encode()) + _with_length(found)
    return 61 + len(_varint(size)) + size


def _with_length(content: bytes | None) -> int:
    return 1 if content is None else len(_varint(len(content))) + len(content)


def _varint(number: int) -> bytes:
    """Write a number that is not negative as Kafka does: zigzag, seven bits in a byte."""
    rest, written = number << 1, b""
    while rest > 127:
        written += bytes([rest & 127 | 128])
        rest >>= 7
    return written + bytes([rest])
