"""Does this changelog belong to this deployment? Running on another's would publish twice."""

from typing import Final

import structlog

from consumer.engine.changelog import Meta
from consumer.errors import StateCorrupted

MENDS: Final = {
    "group_id": "the changelog belongs to another group; set GROUP_ID back",
    "shards": "the changelog's partition count must never change; restore the topic",
    "shard": "the changelog was copied between partitions; restore the topic",
    "cluster_id": "the changelog comes from another cluster; use a new GROUP_ID here",
    "output_topic": "another output topic needs another GROUP_ID (or set OUTPUT_TOPIC back)",
}
log = structlog.get_logger(__name__)


def verify_meta(stored: Meta, expected: Meta) -> None:
    """Refuse a changelog that belongs to something else; changed inputs are accepted and logged.

    Raises:
        StateCorrupted: it was mirrored, enlarged, or another deployment shares the group.
    """
    for field, mend in MENDS.items():
        was, now = getattr(stored, field), getattr(expected, field)
        if was != now:
            raise StateCorrupted(
                f"changelog of shard {expected.shard}: {field} was {was!r}, is now {now!r}: {mend}"
            )
    if stored.input_topics != expected.input_topics:
        log.warning(
            "inputs_changed",
            shard=expected.shard,
            before=stored.input_topics,
            now=expected.input_topics,
        )
