"""How much poison of one partition may go to the dead letters: a share over a window. Pure.

The window is counted in offsets of the partition and so depends on the log alone: neither on how
records were cut into transactions nor on when the process was started. Whoever starts anew and
counts the offsets before its position again comes to the same answer, at the same record.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from consumer.engine.kafka import TopicPartition
from consumer.pipeline.records import Reason


class Poison(NamedTuple):
    """One dead letter: where its record lies, and why it is one."""

    offset: int
    reason: Reason


class Breach(NamedTuple):
    """The limit is reached: the poison of the window that ends with ``last_offset``."""

    source: TopicPartition
    first_offset: int
    last_offset: int
    reasons: Counter[Reason]


class DeadLetterLimit:
    """Counts poison by partition. With a limit of 10% of 1,000 offsets the 100th breaks it.

    A window that has only begun is not taken for a small one: where less was read than the window
    holds, it takes as many dead letters as in a full one, so the first poison of a topic stops
    nothing.
    """

    def __init__(self, percent: int, window_offsets: int) -> None:
        self.window_offsets = window_offsets
        self.least_poison = max(1, -(-percent * window_offsets // 100))
        self._windows: dict[TopicPartition, deque[Poison]] = {}

    def count(self, source: TopicPartition, poison: Iterable[Poison]) -> Breach | None:
        """Take in poison of one partition, in the order of its offsets; tell the first breach."""
        window = self._windows.setdefault(source, deque())
        breach = None
        for found in poison:
            window.append(found)
            while window[0].offset <= found.offset - self.window_offsets:
                window.popleft()
            if breach is None and len(window) >= self.least_poison:
                reasons = Counter(one.reason for one in window)
                breach = Breach(source, window[0].offset, found.offset, reasons)
        return breach
