"""Where the poller sends checkpoints: a small protocol, which the Kafka producer implements."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class CheckpointRecord(NamedTuple):
    """A record for the input topic: the id of the checkpoint, and its JSON."""

    key: bytes
    value: bytes


class Sink(Protocol):
    """Accepts records and reports when they are durable."""

    async def send(self, records: Sequence[CheckpointRecord], /) -> None:
        """Send the records; return when all replicas in sync have acknowledged each of them.

        Raises:
            CheckpointReadyError: at least one record was not acknowledged.
        """
