"""The violations that a check has found: the first sentences in full, the rest as a number."""

from __future__ import annotations

from collections import Counter

# One fault may break a rule thousands of times; the other kinds must still be reported.
MAX_KEPT_OF_A_KIND = 5
SHOWN_CHARS = 60


class Findings:
    """Violations by kind."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, sentence: str) -> None:
        """Add one violation."""
        self._counts[kind] += 1
        if self._counts[kind] <= MAX_KEPT_OF_A_KIND:
            self._sentences.append(f"{kind}: {sentence}")

    def count(self, kind: str) -> int:
        """Return how many there are of a kind."""
        return self._counts[kind]

    def sentences(self) -> list[str]:
        """Return the kept sentences and the number of the others; empty if all is right."""
        more = sum(self._counts.values()) - len(self._sentences)
        if not more:
            return list(self._sentences)
        kinds = ", ".join(f"{kind} {count}" for kind, count in self._counts.most_common())
        return [*self._sentences, f"and {more} more violations; in all: {kinds}"]


def shown(one: object) -> str:
    """Return an id for a message, cut if it is long."""
    text = repr(one)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
