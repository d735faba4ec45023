"""The optional fields of a checkpoint: provider, base model, place of the weights, and expiry."""

import json
from typing import Any

import msgspec
import pytest

from consumer.pipeline.decode.canonical import FORMS, digest_in
from consumer.pipeline.decode.checkpoint import decode, decode_usual
from consumer.pipeline.ready_event import enrich
from consumer.pipeline.records import InvalidRecord, Reason
from schemas.checkpoint import FIRST_UNIX_SECOND, LAST_UNIX_SECOND
from schemas.ready_event import Origin
from tests.builders import batch, camel, checkpoint, decide, envelope, record

FIELDS: dict[str, Any] = {
    "provider": "trainer",
    "base_model": "meta-llama/Llama-3.1-8B",
    "uri": "s3://bucket/runs/7/checkpoint-500",
    "expires_at": 1_724_356_867,
}
NAMES = tuple(FIELDS)
NULLS = dict.fromkeys(NAMES)
ORIGIN = Origin("in", 3, 42, 1_721_764_900_000)


def model_of(**changes: object) -> dict[str, Any]:
    """Return `data.model` of the event of a checkpoint."""
    event = enrich(decode(json.dumps(checkpoint(**changes)).encode()), ORIGIN, [])
    model: dict[str, Any] = json.loads(event.value)["data"]["model"]
    return model


def encoded(fields: object) -> bytes:
    """Return a JSON text."""
    return json.dumps(fields).encode()


def test_they_are_published_like_other_known_fields() -> None:
    """`data.checkpoint` has them under their wire names, in alphabetical order."""
    source = checkpoint(**FIELDS)
    (event,) = decide(batch(record(source))).ready
    published = json.loads(event.value)["data"]["checkpoint"]
    assert published == source
    assert list(published) == sorted(published)


@pytest.mark.parametrize("fields", [FIELDS, *({name: FIELDS[name]} for name in NAMES)])
def test_every_spelling_gives_the_same_content(fields: dict[str, Any]) -> None:
    """Wire and SDK names, mixed ones, whole floats, nulls beside them, and an envelope."""
    expected = decode(encoded(checkpoint(**fields)))
    spellings: list[dict[str, Any]] = [
        camel(checkpoint(**fields)),
        checkpoint(**camel(fields)),
        checkpoint(**(camel(NULLS) | fields)),
        checkpoint(**(NULLS | fields)),
        camel(checkpoint(**(NULLS | fields))),
        envelope(checkpoint(**fields)),
    ]
    if "expires_at" in fields:
        spellings.append(checkpoint(**fields | {"expires_at": float(FIELDS["expires_at"])}))
    for spelling in spellings:
        found = decode(encoded(spelling))
        assert (found.canonical, found.digest) == (expected.canonical, expected.digest)


@pytest.mark.parametrize("nulls", [NULLS, camel(NULLS), *({name: None} for name in NAMES)])
@pytest.mark.parametrize("metrics", [{"train_loss": 0.5}, {"train_loss": 0}])
@pytest.mark.parametrize("others", [{}, {"other": None}])
def test_null_is_the_same_as_absent(
    nulls: dict[str, None], metrics: dict[str, float], others: dict[str, None]
) -> None:
    """In the canonical bytes too, on the way of each of the decoders."""
    without = decode(encoded(checkpoint(metrics=metrics, **others)))
    found = decode(encoded(checkpoint(metrics=metrics, **others, **nulls)))
    assert (found.canonical, found.digest) == (without.canonical, without.digest)


def test_the_fast_decoder_takes_them() -> None:
    """A producer that sets them pays nothing for it."""
    assert decode_usual(encoded(checkpoint(**FIELDS))) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in NAMES),
        *((name, [1]) for name in NAMES),
        *((name, {}) for name in NAMES),
        *((name, value) for name in NAMES for value in (True, 1.5)),
        *((name, 1_724_356_867) for name in NAMES if name != "expires_at"),
        *(
            ("expires_at", value)
            for value in ("1724356867", FIRST_UNIX_SECOND - 1, LAST_UNIX_SECOND + 1, 1e300, 10**400)
        ),
    ],
)
def test_a_wrong_type_is_an_invalid_record(name: str, value: object) -> None:
    """In both spellings, and the message names the field."""
    for fields in (checkpoint(**{name: value}), checkpoint(**camel({name: value}))):
        with pytest.raises(InvalidRecord) as caught:
            decode(encoded(fields))
        assert caught.value.reason is Reason.INVALID_SCHEMA
        assert name in caught.value.message


def test_milliseconds_are_named() -> None:
    """As for the time of creation."""
    with pytest.raises(InvalidRecord, match=r"expires_at .* milliseconds"):
        decode(encoded(checkpoint(expires_at=1_724_356_867_000)))


def test_two_spellings_must_agree() -> None:
    """As for the other fields."""
    with pytest.raises(InvalidRecord, match="base_model is present in both spellings"):
        decode(encoded(checkpoint(base_model="a", baseModel="b")))


def test_fields_of_the_producer_come_before_the_name() -> None:
    """Each of them alone and both together; what only the name says stays."""
    of_the_name = model_of()
    assert model_of(provider="trainer") == of_the_name | {"provider": "trainer"}
    assert model_of(base_model="acme/base") == of_the_name | {"base_model": "acme/base"}
    assert model_of(**FIELDS) == of_the_name | {
        "provider": "trainer",
        "base_model": "meta-llama/Llama-3.1-8B",
    }
    assert model_of(uri="s3://bucket/checkpoint-9", expires_at=0) == of_the_name
    assert model_of(fine_tuned_model_checkpoint="/data/checkpoint-9", provider="é") == {
        "provider": "é",
        "base_model": None,
        "organization": None,
        "suffix": None,
        "step": 9,
        "is_final": False,
    }


def test_a_digest_in_an_older_form_is_found_by_the_published_bytes() -> None:
    """The form of a stored digest can be computed again from the canonical bytes."""
    for fields in (FIELDS, {"uri": "x"}, {}):
        found = decode(encoded(checkpoint(**fields)))
        assert digest_in(1, found.canonical) == found.digest
        form = FORMS[1](msgspec.json.decode(found.canonical))
        assert fields.items() <= form.items()
