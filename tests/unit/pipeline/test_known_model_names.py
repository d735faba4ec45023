"""The events of model names that were recognised before other providers were: byte for byte.

Each name has the digest of its whole event. Only a new version of the event may change one of them.
"""

import hashlib
import json

import pytest

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import enrich
from schemas.ready_event import Origin
from tests.builders import checkpoint

ORIGIN = Origin("in", 3, 42, 1_721_764_900_000)
EVENTS = [
    ("ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88", "8374d0a8e1ad9149"),
    ("ft:gpt-4o-2024-08-06:personal::AEk9daX3:ckpt-step-1956", "9c04e7c48cf07106"),
    ("ft:gpt-4.1-2025-04-14:acme:exp-0723-002:BwRgAyL5:ckpt-step-194", "15a436f73b242741"),
    ("ft:gpt-4o-mini:openai::7p4lURel", "405e66fa7cb8c8f7"),
    ("ft:gpt-4o:deadbeef:20260101:0550e55a", "cddbdfb6d0cc167d"),
    ("ft:gpt-3.5-turbo-0125:københavn-ai::a1:ckpt-step-007", "a3de1133021a51c7"),
    ("gpt-4o-mini-2024-07-18.ft-0123456789abcdef0123456789abcdef:ckpt-step-90", "af07d2719a00db47"),
    ("gpt-4.1-mini-2025-04-14.ft-0123456789abcdef0123456789abcdef", "0ba15b00116d34b3"),
    ("gpt-4o-mini-2024-07-18.ft-0123456789abcdef0123456789abcdef-my-suffix", "f377c4d47dd9bccb"),
    (
        "gpt-4o.ft-0123456789abcdef0123456789abcdef-v1.ft-0123456789abcdef0123456789abcdef-two:ckpt-step-5",
        "2cb00b2ecc68acf8",
    ),
    ("/data/outputs/checkpoint-500", "e021ff0b7105cec9"),
    ("/data/outputs/checkpoint-500/", "d7dc84db51e24984"),
    ("outputs/checkpoint-7", "a9caf5da15739eab"),
    ("checkpoint-7", "fdb02b8429245022"),
    ("accounts/acme/models/checkpoint-7", "dbf03e641ce8f391"),
    ("./model", "28c73405916cb32a"),
    ("~/model", "1d47336a3d12fffb"),
    ("/step-100", "92a24d84bfd59029"),
    ("C:\\models\\checkpoint-3", "72ab25a799b11b0c"),
    ("\\\\host\\share\\model", "3897ed242d6f4646"),
    ("s3://bucket/model", "6c8afe9a8b297c36"),
    ("s3://bucket/checkpoint-12", "84d320d6e876d7c1"),
    ("gs://bucket/run/checkpoint-500/", "61f55148de486409"),
    ("abfss://data@account.dfs.core.windows.net/run/checkpoint-9", "73d69cf741f23b2c"),
    ("hf://org/name", "ff0f52445b1b9b4d"),
    ("hf://org/name/checkpoint-20", "5581af9d64824e93"),
    ("https://host/run/model", "9e6e464e3be3c09b"),
    ("file:///data/checkpoint-1", "9e5c499bbd39dd9c"),
    ("dbfs:/model", "e4301b55da106d9b"),
    ("", "1ae66b27c9797a08"),
    ("gpt-4o", "50a358b5d0958361"),
    ("org/model", "3bbdd6793dac6dcd"),
    ("accounts/acme", "5371c0d8048bc923"),
    ("ft:", "3539bc6da223d651"),
    ("our-model-v7", "1c77202628b4d96d"),
]


@pytest.mark.parametrize(("name", "digest"), EVENTS, ids=[name for name, _ in EVENTS])
def test_the_event_is_what_it_was(name: str, digest: str) -> None:
    """Names of OpenAI and Azure, paths, URIs, and names of no known form."""
    source = decode(json.dumps(checkpoint(fine_tuned_model_checkpoint=name)).encode())
    event = enrich(source, ORIGIN, [])
    assert hashlib.sha256(event.value).hexdigest()[:16] == digest
