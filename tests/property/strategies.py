"""What records may look like: valid checkpoints, near misses, and anything at all."""

import json
from typing import Any

from hypothesis import strategies as st

from consumer.pipeline.records import Header
from consumer.pipeline.routing import ORIGIN_HEADER
from schemas.checkpoint import FIRST_UNIX_SECOND, LAST_UNIX_SECOND
from tests.builders import STRUCTURED, Record, camel

METRIC_NAMES = (
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
)
text = st.text(st.characters(exclude_categories=["Cs"]))
name = text.filter(bool)
finite = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def checkpoints(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid checkpoint in wire spelling, without unknown fields."""
    metrics: dict[str, Any] = draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(METRIC_NAMES, finite))
    )
    if draw(st.booleans()):
        metrics["step"] = draw(int64)
    return {
        "id": draw(name),
        "object": "fine_tuning.job.checkpoint",
        "created_at": draw(st.integers(FIRST_UNIX_SECOND, LAST_UNIX_SECOND)),
        "fine_tuned_model_checkpoint": draw(text),
        "fine_tuning_job_id": draw(name),
        "metrics": metrics,
        "step_number": draw(int64),
    }


@st.composite
def spellings(draw: st.DrawFn, fields: dict[str, Any]) -> bytes:
    """Draw one way to write a checkpoint that changes nothing of its content."""
    metrics = dict(fields["metrics"])
    if draw(st.booleans()):
        metrics |= dict.fromkeys(set(METRIC_NAMES) - set(metrics))
    respelled = {**fields, "metrics": camel(metrics) if draw(st.booleans()) else metrics}
    for integer in ("created_at", "step_number"):
        if abs(fields[integer]) < 2**53 and draw(st.booleans()):
            respelled[integer] = float(fields[integer])
    if draw(st.booleans()):
        respelled |= camel(
            {key: respelled[key] for key in draw(st.sets(st.sampled_from(sorted(fields))))}
        )
    if draw(st.booleans()):
        respelled = {camel_key: respelled[key] for key, camel_key in _camel_keys(respelled).items()}
    shuffled = dict(draw(st.permutations(list(respelled.items()))))
    indent = draw(st.sampled_from([None, 0, 2]))
    written = json.dumps(shuffled, indent=indent, ensure_ascii=draw(st.booleans()))
    return written.encode()


headers: st.SearchStrategy[list[Header]] = st.lists(
    st.tuples(
        text | st.sampled_from(["content-type", "ce_specversion", "traceparent", ORIGIN_HEADER]),
        st.none() | st.binary() | st.sampled_from([STRUCTURED[1], b"1.0", b"\x00" * 24]),
    ),
    max_size=4,
)
values = (
    st.none()
    | st.binary()
    | text.map(str.encode)
    | json_values.map(json.dumps).map(str.encode)
    | checkpoints().map(json.dumps).map(str.encode)
    | st.builds(
        lambda fields, more: json.dumps(fields | more).encode(),
        checkpoints(),
        st.dictionaries(
            st.sampled_from(["id", "created_at", "metrics", "object", "createdAt", "extra"]),
            json_values,
        ),
    )
)
records: st.SearchStrategy[Record] = st.builds(
    Record,
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(),
    value=values,
    headers=headers,
)


def _camel_keys(fields: dict[str, Any]) -> dict[str, str]:
    return {key: next(iter(camel({key: 0}))) for key in fields}
