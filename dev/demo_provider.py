"""The hosted provider of the demo: a local server whose jobs run, write checkpoints and end.

It behaves as the list API of OpenAI does. Its pages are short, so a job has several of them.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.provider_server import KEY, ProviderServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.documents import Document

RUNNING = "running"
ENDINGS = ("succeeded", "failed", "cancelled")
# Share of the run at which each job begins and ends.
JOBS = ((0.0, 0.6), (0.1, 0.8), (0.3, 0.95))
GROWTHS = 6
OLD_CHECKPOINTS = 13
ACCOUNTS = """\
[[accounts]]
name = "demo"
kind = "openai"
base_url = "URL"
key_file = "provider-key"
interval_seconds = 0.3
page_size = 5
"""


class Step(NamedTuple):
    """A change of a job at a share of the run."""

    at_share: float
    job: str
    new_checkpoints: int
    status: str = RUNNING


def plan_steps(seed: int) -> list[Step]:
    """Return the changes in their order. The same seed always plans the same changes."""
    rng = random.Random(f"provider of {seed}")
    steps = [Step(0.0, f"ftjob-{seed}-old", OLD_CHECKPOINTS, ENDINGS[0])]
    for number, (begin, end) in enumerate(JOBS):
        job = f"ftjob-{seed}-{number}"
        for growth in range(GROWTHS):
            at_share = begin + (end - begin) * growth / GROWTHS
            steps.append(Step(at_share, job, rng.randint(1, 4)))
        # The last checkpoint appears together with the end.
        steps.append(Step(end, job, 1, rng.choice(ENDINGS)))
    return sorted(steps, key=lambda step: step.at_share)


class DemoProvider:
    """The server and its planned changes. A context manager, which stops the server."""

    def __init__(self, seed: int) -> None:
        """Prepare; entering the context starts the server."""
        self._server = ProviderServer()
        self._steps = plan_steps(seed)
        self._done = 0

    def __enter__(self) -> Self:
        """Start the server."""
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._server.__exit__()

    @property
    def is_done(self) -> bool:
        """Whether every job has ended."""
        return self._done == len(self._steps)

    @property
    def ids(self) -> list[str]:
        """The ids of all checkpoints that the provider lists now."""
        return self._server.ids

    @property
    def requests(self) -> int:
        """How many requests the provider has received."""
        return len(self._server.requests)

    @property
    def contents(self) -> dict[str, Document]:
        """All checkpoints that the provider lists now, by their ids."""
        return {one: json.loads(self._server.raw(one)) for one in self._server.ids}

    def write_accounts(self, folder: Path) -> Path:
        """Write the configuration of the poller and its key; return its path."""
        (folder / "provider-key").write_text(KEY)
        path = folder / "accounts.toml"
        path.write_text(ACCOUNTS.replace("URL", self._server.url))
        return path

    def advance(self, share: float) -> None:
        """Make the changes that are due after this share of the time."""
        while not self.is_done and self._steps[self._done].at_share <= share:
            step = self._steps[self._done]
            if step.job not in self._server.jobs:
                self._server.add_job(step.job)
            self._server.add_checkpoints(step.job, step.new_checkpoints)
            if step.status != RUNNING:
                self._server.end_job(step.job, step.status)
            self._done += 1
