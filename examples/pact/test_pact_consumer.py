"""The subscriber's side: says what the handler needs of an event, and writes it to a pact file."""

import json
import os
from pathlib import Path

from model_registry import Candidate, ModelRegistry
from pact import Pact, match
from provider_states import WITH_VALIDATION_LOSS, WITHOUT_METRICS

PACTS = Path(__file__).parent / "pacts"
CONTENT_TYPE = "application/cloudevents+json"
# Otherwise the native library reports its use to its makers.
os.environ.setdefault("PACT_DO_NOT_TRACK", "true")


def test_the_handler_needs_only_what_the_pact_says() -> None:
    """The handler handles the example messages of the pact. Then the pact file is written."""
    pact = Pact("model-registry", "checkpoint-ready").with_specification("V4")
    name = match.str("ft:gpt-4o-mini-2024-07-18:my-org:support:9ABel2dg:ckpt-step-88")
    (
        pact.upon_receiving("a ready event with a loss", "Async")
        .given(WITH_VALIDATION_LOSS)
        .with_body(
            {
                "type": "fine_tuning.job.checkpoint.ready",
                "id": match.str("ftckpt_1"),
                "data": {
                    "checkpoint": {"fine_tuned_model_checkpoint": name},
                    "model": {"base_model": match.str("gpt-4o-mini-2024-07-18")},
                    "evaluation": {"loss": match.number(0.134)},
                },
            },
            CONTENT_TYPE,
        )
    )
    (
        pact.upon_receiving("a ready event without a loss", "Async")
        .given(WITHOUT_METRICS)
        .with_body(
            {
                "type": "fine_tuning.job.checkpoint.ready",
                "id": match.str("ftckpt_2"),
                "data": {
                    "model": {"base_model": match.str("gpt-4o-mini-2024-07-18")},
                    "evaluation": {},
                },
            },
            CONTENT_TYPE,
        )
    )
    registry = ModelRegistry()

    def handle(body: str | bytes | None, _metadata: dict[str, object]) -> None:
        registry.handle(body.encode() if isinstance(body, str) else body or b"")

    pact.verify(handle, kind="Async")
    expected = Candidate("ft:gpt-4o-mini-2024-07-18:my-org:support:9ABel2dg:ckpt-step-88", 0.134)
    assert registry.best == {"gpt-4o-mini-2024-07-18": expected}
    assert registry.handled == {"ftckpt_1", "ftckpt_2"}

    pact.write_file(PACTS, overwrite=True)
    (written,) = PACTS.glob("*.json")
    interactions = json.loads(written.read_text())["interactions"]
    assert [one["type"] for one in interactions] == ["Asynchronous/Messages"] * 2
