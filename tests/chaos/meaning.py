"""What a record of the workload means. The record itself says it, without the service's code.

The first header of a record is `{variant} {id}` for a checkpoint, or the reason why the record is
invalid. Some checkpoints have no header, so that the service's path for those is tested too. They
are plain JSON in wire spelling: their id and content say what they mean.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.contents import variant_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.reader import Header

CHECKPOINT_HEADER = "chaos.checkpoint"
INVALID_HEADER = "chaos.invalid"


class Meaning(NamedTuple):
    """A checkpoint (its id and which of its contents), or an invalid record (the reason)."""

    checkpoint_id: str = ""
    variant: int = 0
    reason: str = ""


def mark(meaning: Meaning) -> Header:
    """Return the header that states the meaning of a record."""
    if meaning.reason:
        return INVALID_HEADER, meaning.reason.encode()
    return CHECKPOINT_HEADER, f"{meaning.variant} {meaning.checkpoint_id}".encode()


def read_meaning(value: bytes | None, headers: Sequence[Header]) -> Meaning:
    """Return what a record on the input means.

    Raises:
        ValueError: the workload did not write the record.
    """
    if headers:
        name, text = headers[0]
        if name == INVALID_HEADER and text:
            return Meaning(reason=text.decode())
        if name == CHECKPOINT_HEADER and text:
            variant, _, one = text.decode().partition(" ")
            return Meaning(one, int(variant))
    elif value:
        content = json.loads(value)
        return Meaning(content["id"], variant_of(content))
    raise ValueError("the record has no header of the workload and is no plain checkpoint")
