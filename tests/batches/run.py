"""Draws batches, lets the service and the Java client read them, and compares."""

from __future__ import annotations

import random
from collections import Counter

from tests.batches.generate import draw
from tests.batches.java_client import read_by_java
from tests.batches.judge import judge, read_in_steps

BATCHES_PER_PROCESS = 20_000


def run(batches: int, seed: int) -> Counter[str]:
    """Return how many batches had which outcome.

    Raises:
        AssertionError: the service reads one otherwise than it should; the message holds it.
    """
    rng = random.Random(seed)  # noqa: S311 - test data
    outcomes: Counter[str] = Counter()
    while batches > 0:
        drawn = [draw(rng) for _ in range(min(batches, BATCHES_PER_PROCESS))]
        batches -= len(drawn)
        for fetched, java in zip(drawn, read_by_java(drawn), strict=True):
            try:
                outcomes[judge(fetched, java)] += 1
                read_in_steps(fetched)
            except Exception as error:
                shown = f"batch {fetched.hex()[:2000]}\nJava: {str(java)[:2000]}"
                raise AssertionError(f"{str(error)[:2000]}\n{shown}") from error
    return outcomes
