"""What a record of the workload must become, told by the record itself and not by the service.

The workload marks a record with a first header: `{variant} {id}` of a checkpoint, or the reason for
which it is poison. Some checkpoints have no header at all, so that the service's path for those is
taken too; they are plain JSON in wire spelling, and the id and the content themselves tell.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.contents import variant_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Header = tuple[str, bytes | None]

CHECKPOINT_MARK = "chaos.checkpoint"
POISON_MARK = "chaos.poison"


class Meaning(NamedTuple):
    """A checkpoint (its id and which of its contents), or poison (the reason)."""

    checkpoint_id: str = ""
    variant: int = 0
    reason: str = ""


def mark(meaning: Meaning) -> Header:
    """Return the header that tells a record's meaning."""
    if meaning.reason:
        return POISON_MARK, meaning.reason.encode()
    return CHECKPOINT_MARK, f"{meaning.variant} {meaning.checkpoint_id}".encode()


def read_meaning(value: bytes | None, headers: Sequence[Header]) -> Meaning:
    """Return what a record on the input means.

    Raises:
        ValueError: the workload did not write it.
    """
    if headers:
        name, text = headers[0]
        if name == POISON_MARK and text:
            return Meaning(reason=text.decode())
        if name == CHECKPOINT_MARK and text:
            variant, _, one = text.decode().partition(" ")
            return Meaning(one, int(variant))
    elif value:
        content = json.loads(value)
        return Meaning(content["id"], variant_of(content))
    raise ValueError("the record has neither a mark nor a plain checkpoint")
