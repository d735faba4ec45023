"""Poison of many kinds, round and round: those of the demo, and some that are harder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.demo_poison import Poison, make_poison
from dev.demo_variants import compact
from tests.chaos.contents import content_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

LARGE_BYTES = 60_000
HUGE = 10**400


def poison_forever(rng: random.Random) -> Iterator[Poison]:
    """Yield poison without end: every kind comes before any comes again."""
    number = 0
    while True:
        content = content_of(f"poison_{number}")
        poisons = [*make_poison(rng), *_harder(content)]
        rng.shuffle(poisons)
        yield from poisons
        number += 1


def _harder(content: dict[str, object]) -> list[Poison]:
    text = compact(content)
    return [
        Poison("invalid_schema", compact({k: v for k, v in content.items() if k != "id"}), []),
        Poison("invalid_schema", compact({**content, "step_number": 2**63}), []),
        Poison("invalid_schema", compact({**content, "created_at": HUGE}), []),
        Poison("invalid_schema", compact({**content, "metrics": [1, 2, 3]}), []),
        Poison("invalid_schema", compact({**content, "id": ["a"]}), []),
        Poison("invalid_schema", compact(["x" * 100] * (LARGE_BYTES // 100)), []),
        Poison("malformed_json", text.replace(b'"object"', b'"a":"\\ud800","object"'), []),
        Poison("malformed_json", text.replace(b'"object"', b'"a":"\xed\xa0\x80","object"'), []),
        Poison("malformed_json", b"\x00" * LARGE_BYTES, []),
        Poison("malformed_json", text + text, []),
    ]
