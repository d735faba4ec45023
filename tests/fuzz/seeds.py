"""Where mutation starts: valid records in every spelling and content mode, and near misses."""

import base64
import json
from typing import Any, Final, NamedTuple

from tests.builders import SDK_EXAMPLE, STRUCTURED, camel, checkpoint, connect, envelope
from tests.fuzz.edge_cases import Header

ID: Final = "@ID@"
"""Stands in a seed for the id that each mutant gets."""

_METRICS: Final = {
    "step": 88,
    "train_loss": 0.478,
    "train_mean_token_accuracy": 0.924,
    "valid_loss": 10.112,
    "valid_mean_token_accuracy": 0.145,
    "full_valid_loss": 0.567,
    "full_valid_mean_token_accuracy": 0.944,
}


_TRACE: Final = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class Seed(NamedTuple):
    """A record to start from."""

    document: dict[str, Any]
    text: bytes
    headers: tuple[Header, ...] = ()


def _checkpoints() -> list[dict[str, Any]]:
    names = (
        "ft:gpt-4o-2024-08-06:personal::AEk9daX3:ckpt-step-1956",
        "ft:gpt-4o-mini:openai::7p4lURel",
        "gpt-4o-mini-2024-07-18.ft-0123456789abcdef0123456789abcdef:ckpt-step-90",
        "/data/outputs/checkpoint-500",
        (".ft-" + "0" * 32 + "-") * 300 + ":",  # many places at which an Azure name may end
    )
    wire = checkpoint(id=ID, metrics=_METRICS)
    return [
        wire,
        camel(wire),
        checkpoint(id=ID, metrics={}),
        json.loads(SDK_EXAMPLE) | {"id": ID},
        checkpoint(id=ID, metrics=camel(_METRICS), step_number=88.0),
        checkpoint(id=ID, createdAt=1_721_764_867, metrics={"valid_loss": None, "trainLoss": 1}),
        checkpoint(id=ID, org={"name": "Zoë \U0001f600", "tags": [1, 2.5, None, True]}, seed=7),
        *(checkpoint(id=ID, fine_tuned_model_checkpoint=name) for name in names),
        checkpoint(id=ID, metrics=None),
        checkpoint(id=ID, metrics=dict.fromkeys(_METRICS, 0) | {"train_loss": 0.51}),
        checkpoint(id=ID, resultFiles=["f"], org={"teamSize": 1.0, "team_name": None}, big=1e16),
        envelope(checkpoint(id=ID), traceparent=_TRACE, tracestate="a=b"),
        connect(checkpoint(id=ID)),
        connect(envelope(camel(wire))),
    ]


def _near_misses() -> list[dict[str, Any]]:
    return [
        checkpoint(id=ID, object="fine_tuning.job"),
        {"before": None, "after": checkpoint(id=ID), "op": "c", "source": {}},
        {"object": "list", "data": [checkpoint(id=ID)], "has_more": False},
        checkpoint(id=ID, fine_tuning_job_id=...),
        checkpoint(id=ID, created_at=1_721_764_867_000),
        checkpoint(id=ID, stepNumber=89),
        envelope(envelope(checkpoint(id=ID))),
        connect({"value": json.dumps(checkpoint(id=ID)), "key": "k"}),
        connect(json.dumps(checkpoint(id="text"))),
    ]


def _seeds() -> tuple[Seed, ...]:
    bare = [*_checkpoints(), *_near_misses()]
    encoded = base64.b64encode(json.dumps(checkpoint(id="b64")).encode()).decode()
    enveloped = [
        *(envelope(document) for document in _checkpoints()[:3]),
        envelope(..., data_base64=encoded),
        envelope(checkpoint(id=ID), specversion="0.3"),
    ]
    binary: Header = ("ce_specversion", b"1.0")
    plain = _text(checkpoint(id=ID))
    return (
        Seed(checkpoint(id=ID), b"\x00\x00\x00\x00\x07" + plain),
        Seed(checkpoint(id=ID), b"\xef\xbb\xbf" + plain),
        *(Seed(document, _text(document)) for document in bare),
        *(Seed(document, _text(document), (STRUCTURED,)) for document in enveloped),
        *(Seed(document, _text(document), (binary,)) for document in _checkpoints()[:2]),
    )


def _text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _seeds_of_producers() -> tuple[Seed, ...]:
    """Return records with the fields by which a producer describes the model."""
    fields = {"provider": "own", "base_model": "org/base", "uri": "s3://b/7", "expires_at": 9**10}
    names = (
        "ft:open-mistral-7b:504267b8:20240620:my-coach:29b5b062",
        "tinker://run:train:0/sampler_weights/step-100",
        "accounts/acme/models/my-model",
        "acme/Meta-Llama-3.1-8B-Instruct-Reference-my-suffix-b34d4ba5",
    )
    documents = [
        checkpoint(id=ID, **fields),
        camel(checkpoint(id=ID, **fields)),
        checkpoint(id=ID, **dict.fromkeys(fields), seed=7),
        *(checkpoint(id=ID, fine_tuned_model_checkpoint=name) for name in names),
        checkpoint(id=ID, provider="", expires_at=1_724_356_867_000),
    ]
    return tuple(Seed(document, _text(document)) for document in documents)


SEEDS: Final = _seeds()
ALL_SEEDS: Final = (*SEEDS, *_seeds_of_producers())
"""`SEEDS` and more. The bytes on the wire are held for `SEEDS`, so these stay as they are."""
