"""Records with the optional fields keep the bytes and digests that they had as unknown fields."""

import json
from hashlib import blake2b
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.pipeline.decode.checkpoint import decode
from schemas.checkpoint import FIRST_UNIX_SECOND, LAST_UNIX_SECOND
from tests.property.strategies import METRIC_NAMES, checkpoints, name, spellings

optional = st.fixed_dictionaries(
    {},
    optional={
        "base_model": name,
        "expires_at": st.integers(FIRST_UNIX_SECOND, LAST_UNIX_SECOND),
        "provider": name,
        "uri": name,
    },
)
unknown = st.dictionaries(st.sampled_from(["a", "other", "zz"]), name | st.booleans())
in_name_order = msgspec.json.Encoder(order="sorted").encode


def as_unknown_fields(checkpoint: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return canonical bytes and digest, by the rules for fields that the contract does not name.

    Known metrics are floats, and one of 0 does not count in the comparison.
    """
    metrics = {
        key: float(found) if key in METRIC_NAMES else found
        for key, found in checkpoint["metrics"].items()
    }
    measured = {key: found for key, found in metrics.items() if found}
    compared = in_name_order(checkpoint | {"metrics": measured})
    digest = b"\x01" + blake2b(compared, digest_size=15).digest()
    return in_name_order(checkpoint | {"metrics": metrics}), digest


@given(checkpoints(), optional, unknown, st.data())
@example(
    {
        "id": "a",
        "object": "fine_tuning.job.checkpoint",
        "created_at": 0,
        "fine_tuned_model_checkpoint": "",
        "fine_tuning_job_id": "j",
        "metrics": {"train_loss": 0.0},
        "step_number": 0,
    },
    {"base_model": "b", "expires_at": 0, "provider": "p", "uri": "u"},
    {},
    None,
)
@settings(max_examples=400, deadline=None)
def test_bytes_and_digest_are_what_they_were(
    checkpoint: dict[str, Any],
    fields: dict[str, Any],
    others: dict[str, Any],
    data: st.DataObject | None,
) -> None:
    """Whichever decoder reads the record: with unknown fields, or in other spellings.

    Only a record with both spellings of a field was another content before: that of two fields.
    """
    expected = as_unknown_fields(checkpoint | fields | others)
    found = decode(json.dumps(checkpoint | fields | others).encode())
    assert (found.canonical, found.digest) == expected
    if data is not None:
        respelled = data.draw(spellings(checkpoint | fields | others))
        assert decode(respelled).digest == expected[1]
