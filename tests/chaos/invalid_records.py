"""An endless sequence of invalid records of all kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.contents import content_of
from tests.support.invalid_records import make_hard_invalid_records, make_invalid_records

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.support.invalid_records import InvalidSample


def invalid_records(rng: random.Random) -> Iterator[InvalidSample]:
    """Yield invalid records; every kind comes once before any kind comes again."""
    number = 0
    while True:
        content = content_of(f"invalid_{number}")
        records = [*make_invalid_records(rng), *make_hard_invalid_records(content)]
        rng.shuffle(records)
        yield from records
        number += 1
