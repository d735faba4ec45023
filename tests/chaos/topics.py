"""The topics of one group, by their roles."""

from __future__ import annotations

from typing import NamedTuple


class Topics(NamedTuple):
    """What a workload writes to, a service works on and a checker reads."""

    group: str
    input: str
    ready: str
    dead_letter: str
    changelog: str
    repartition: str
    shards: int
