"""What a run shows: a row for each step as it ends, and the figures at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cluster.traffic import Verdict

HEAD = f"{'step':<34}{'seconds':>9}{'longest gap':>13}{'of a shard':>12}"


class StepReport(NamedTuple):
    """One step: how long it took, and the longest time without a ready event meanwhile."""

    name: str
    seconds: float
    gap_seconds: float
    shard_gap_seconds: float


class Report(NamedTuple):
    """A whole run."""

    steps: Sequence[StepReport]
    verdict: Verdict
    accepted_objects: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing published twice."""
        return not (self.verdict.lost or self.verdict.published_twice)

    def figures(self) -> dict[str, Any]:
        """Return the last line of a run."""
        return {
            **self.verdict._asdict(),
            "accepted_objects": self.accepted_objects,
            "seconds": round(self.seconds, 1),
            "longest_gap_ms": {step.name: round(step.gap_seconds * 1000) for step in self.steps},
            "longest_gap_of_a_shard_ms": {
                step.name: round(step.shard_gap_seconds * 1000) for step in self.steps
            },
        }


def row(step: StepReport) -> str:
    """Return a step as a line under HEAD."""
    gaps = f"{step.gap_seconds:>11.2f} s{step.shard_gap_seconds:>10.2f} s"
    return f"{step.name:<34}{step.seconds:>9.1f}{gaps}"
