"""Hypothesis strategies for any valid ready event, record of the ready topic, and dead letter.

They need the extra ``hypothesis``. Every optional part is present or absent, numbers reach the ends
of their ranges, ids and names are any Unicode, and each provider of models occurs.
"""

from typing import Any, Final

from hypothesis import strategies as st

from checkpoint_ready_testkit.checkpoints import (
    FIELD_NAMES,
    FIRST_UNIX_SECOND,
    LAST_UNIX_SECOND,
    METRIC_NAMES,
    STEP_BITS,
)
from checkpoint_ready_testkit.dead_letters import REASONS, dead_letter
from checkpoint_ready_testkit.json_text import JsonObject
from checkpoint_ready_testkit.kafka_records import KafkaRecord, Mode, ready_record
from checkpoint_ready_testkit.ready_events import DATASCHEMA, ready_event

_LAST_OFFSET: Final = 2**63 - 1
_LAST_PARTITION: Final = 10**9 - 1
_MODES: Final[tuple[Mode, ...]] = ("structured", "binary")

_text: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_name: Final = _text.filter(bool)
_schema_addresses: Final = st.builds(
    "{}://{}/schemas/ready-event-data/1".format,
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-z]{1,9}(\.[a-z]{2,9})?(:[1-9][0-9]{0,3})?", fullmatch=True),
)
_finite: Final = st.floats(allow_nan=False, allow_infinity=False)
_step: Final = st.integers(-(2**STEP_BITS), 2**STEP_BITS - 1)
_json: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.integers() | _finite | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
# A later version adds names that no event has today, and that Kafka and CloudEvents permit.
_new_members: Final = st.dictionaries(
    st.from_regex(r"new_[a-z]{1,8}", fullmatch=True), _json, max_size=2
)
_new_attributes: Final = st.dictionaries(
    st.from_regex(r"new[a-z0-9]{1,8}", fullmatch=True), _text, max_size=2
)
_part: Final = st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
_optional_part: Final = st.just("") | _part
_step_tail: Final = st.just("") | st.integers(0, 10**18 - 1).map(":ckpt-step-{}".format)
_hex_digits: Final = st.text("0123456789abcdef", min_size=32, max_size=32)
_eight_hex_digits: Final = st.text("0123456789abcdef", min_size=8, max_size=8)
_suffix_tail: Final = st.just("") | _part.map("-{}".format)
_named_step: Final = st.sampled_from(["", "step-", "step_", "checkpoint-"])
_number: Final = st.integers(0, 10**18 - 1)
_optional_name: Final = st.none() | _name
_unix_seconds: Final = st.integers(FIRST_UNIX_SECOND, LAST_UNIX_SECOND)
_model_names: Final = st.one_of(
    st.builds("ft:{}:{}:{}:{}{}".format, _part, _optional_part, _optional_part, _part, _step_tail),
    st.builds("{}.ft-{}{}".format, _part, _hex_digits, _step_tail),
    st.builds("{}.ft-{}-{}{}".format, _part, _hex_digits, _part, _step_tail),
    st.builds("/models/{}/checkpoint-{}".format, _part, st.integers(0, 10**18 - 1)),
    st.builds("s3://{}/{}".format, _part, _part),
    st.builds("tinker://{}/sampler_weights/{}{}".format, _part, _named_step, _number),
    st.builds("accounts/{}/models/{}".format, _part, _part),
    st.builds("{}/{}-Reference{}-{}".format, _part, _part, _suffix_tail, _eight_hex_digits),
    st.builds(
        "ft:open-mistral-7b:{}:20260101{}:{}".format,
        _eight_hex_digits,
        st.just("") | _part.map(":{}".format),
        _eight_hex_digits,
    ),
    _text,
)
_metrics: Final = st.builds(
    lambda known, unknown: {**unknown, **known},
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(METRIC_NAMES, _finite | st.just(0.0) | st.none()),
            "step": _step | _finite,
        },
    ),
    st.dictionaries(_text, _json, max_size=2),
)


@st.composite
def ready_events(draw: st.DrawFn, *, later_versions: bool = True) -> JsonObject:
    """Return a strategy of ready events.

    Args:
        draw: Hypothesis gives it.
        later_versions: whether events may have members that only a later minor version adds.
    """
    event = ready_event(
        checkpoint_id=draw(_name),
        job_id=draw(_name),
        step=draw(_step),
        model=draw(_model_names),
        metrics=_without_known_names(draw(_metrics), METRIC_NAMES),
        created_at=draw(_unix_seconds),
        provider=draw(_optional_name),
        base_model=draw(_optional_name),
        uri=draw(_optional_name),
        expires_at=draw(st.none() | _unix_seconds),
        unknown_fields=_without_known_names(draw(st.dictionaries(_text, _json, max_size=3)), ()),
        topic=draw(st.from_regex(r"(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,30}", fullmatch=True)),
        partition=draw(st.integers(0, _LAST_PARTITION)),
        offset=draw(st.integers(0, _LAST_OFFSET)),
        timestamp_ms=draw(st.integers(-1, _LAST_OFFSET)),
        replay_id=draw(st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)),
        dataschema=draw(st.just(DATASCHEMA) | _schema_addresses),
    )
    return draw(_with_new_members(event)) if later_versions and draw(st.booleans()) else event


@st.composite
def ready_records(
    draw: st.DrawFn, *, mode: Mode | None = None, later_versions: bool = True
) -> KafkaRecord:
    """Return a strategy of records of the ready topic; with `mode` None they have either mode."""
    shards = draw(st.integers(1, 100))
    trace_id, span_id = draw(st.integers(1, 2**128 - 1)), draw(st.integers(1, 2**64 - 1))
    has_trace = draw(st.booleans())
    return ready_record(
        draw(ready_events(later_versions=later_versions)),
        mode=draw(st.sampled_from(_MODES)) if mode is None else mode,
        traceparent=f"00-{trace_id:032x}-{span_id:016x}-01" if has_trace else None,
        tracestate="vendor=1" if has_trace and draw(st.booleans()) else None,
        group_id=draw(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True)),
        shards=shards,
        schema_guid=draw(st.just("") | st.uuids().map(str)),
    )


@st.composite
def dead_letters(draw: st.DrawFn) -> KafkaRecord:
    """Return a strategy of dead letters of every reason, some of them with a value that is cut."""
    reason = draw(st.sampled_from(REASONS))
    headers = draw(st.lists(st.tuples(_text, st.none() | st.binary(max_size=20)), max_size=3))
    letter = dead_letter(
        reason,
        event=draw(ready_events(later_versions=False)),
        headers=[] if reason == "unreadable_batch" else headers,
        partition=draw(st.integers(0, _LAST_PARTITION)),
        offset=draw(st.integers(1, _LAST_OFFSET)),
        timestamp_ms=draw(st.integers(-1, _LAST_OFFSET)),
        kept_bytes=draw(st.none() | st.integers(0, 50)) if reason != "tombstone" else None,
    )
    key = draw(st.booleans())
    return letter if key else letter._replace(key=None)


def _without_known_names(members: JsonObject, known: tuple[str, ...]) -> JsonObject:
    """Return the members without those that `ready_event` would refuse as known fields."""
    spelled = {name.replace("_", "") for name in FIELD_NAMES + METRIC_NAMES}
    return {
        name: value
        for name, value in members.items()
        if name in known or name.lower().replace("_", "") not in spelled
    }


@st.composite
def _with_new_members(draw: st.DrawFn, event: JsonObject) -> JsonObject:
    data = {
        name: {**value, **draw(_new_members)} if name != "checkpoint" else value
        for name, value in event["data"].items()
    }
    attributes = {name: value for name, value in event.items() if name != "replayid"}
    replay_id = {name: value for name, value in event.items() if name == "replayid"}
    return {
        **attributes,
        "data": {**data, **draw(_new_members)},
        **draw(_new_attributes),
        **replay_id,
    }
