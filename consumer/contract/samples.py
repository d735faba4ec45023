"""Sample messages of the contract. The pipeline makes them, so they are what the service writes."""

from typing import Any, Final, NamedTuple

import msgspec

from consumer.pipeline.check_event import check_record
from consumer.pipeline.dead_letters import dead_letter
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import enrich, ready_headers
from consumer.pipeline.records import Header, Headers, InvalidRecord, Limits, ShardSettings
from schemas.checkpoint import CHECKPOINT_OBJECT
from schemas.ready_event import Origin

_LIMIT_BYTES: Final = 1024 * 1024
_ORIGIN: Final = Origin("fine-tuning.checkpoints", 3, 4711, 1_721_764_870_123)
CHECKPOINT: Final[dict[str, Any]] = {
    "id": "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",
    "object": CHECKPOINT_OBJECT,
    "created_at": 1_721_764_867,
    "fine_tuned_model_checkpoint": (
        "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88"
    ),
    "fine_tuning_job_id": "ftjob-abc123",
    "metrics": {"step": 88, "train_loss": 0.478, "full_valid_loss": 0.567},
    "step_number": 88,
}
SDK_CHECKPOINT: Final[dict[str, Any]] = {
    "id": CHECKPOINT["id"],
    "object": CHECKPOINT_OBJECT,
    "createdAt": CHECKPOINT["created_at"],
    "fineTunedModelCheckpoint": CHECKPOINT["fine_tuned_model_checkpoint"],
    "fineTuningJobId": CHECKPOINT["fine_tuning_job_id"],
    "metrics": {"step": 88, "trainLoss": 0.478, "fullValidLoss": 0.567},
    "stepNumber": 88,
}


class SampleMessage(NamedTuple):
    """A message as JSON: its value, and its headers as text."""

    value: dict[str, Any]
    headers: dict[str, str]


class _Record(NamedTuple):
    """A source record."""

    value: bytes
    key: bytes | None = b"ftjob-abc123"
    headers: Headers = ()
    offset: int = _ORIGIN.offset
    timestamp: int = _ORIGIN.timestamp_ms


def ready_event(*, binary_mode: bool) -> SampleMessage:
    """Return the ready event of the sample checkpoint."""
    limits = Limits(_LIMIT_BYTES, _LIMIT_BYTES, _LIMIT_BYTES)
    headers = ready_headers(ShardSettings(2, 6, "checkpoint-ready", limits, binary_mode))
    decoded = decode(msgspec.json.encode(CHECKPOINT), [])
    event = enrich(decoded, _ORIGIN, headers, binary_mode=binary_mode)
    return SampleMessage(msgspec.json.decode(event.value), _texts(event.headers))


def check_event(*, binary_mode: bool) -> SampleMessage:
    """Return a check event."""
    record = check_record("check-1", 0, 1_795_780_800, committed=True, binary_mode=binary_mode)
    return SampleMessage(msgspec.json.decode(record.value), _texts(record.headers))


def dead_letter_message() -> SampleMessage:
    """Return the dead letter of a checkpoint without its id.

    Raises:
        AssertionError: the pipeline accepts such a checkpoint.
    """
    invalid = {name: value for name, value in CHECKPOINT.items() if name != "id"}
    record = _Record(msgspec.json.encode(invalid))
    try:
        decode(record.value, [])
    except InvalidRecord as error:
        letter = dead_letter(error, _ORIGIN, record, [], _LIMIT_BYTES)
        return SampleMessage(invalid, _texts(letter.headers))
    raise AssertionError("a checkpoint without an id was accepted")


def _texts(headers: list[Header]) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in headers}
