"""A contender in Python: a program of bench/peers/programs/ in the environment of the peers."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.peers.contenders.contender import Contender, Run
from bench.peers.programs.job import Job
from dev.toolchains import python_environment
from tests.support.child_process import ROOT, ChildProcess

PYTHON_PEERS: Final = ROOT / "requirements" / "bench-peers.txt"


@dataclass(frozen=True, kw_only=True)
class PythonPeer(Contender):
    """One process of a program."""

    program: str

    def prepare(self) -> None:
        """Provide the Python that runs the program."""
        self.python()

    def python(self) -> Path:
        """Return the Python of the peers' environment. It is installed once."""
        return python_environment(PYTHON_PEERS)

    def start(self, run: Run) -> list[ChildProcess]:
        """Start the program."""
        job = Job(
            bootstrap_servers=run.cluster.bootstrap_servers,
            group=run.group,
            input_topic=run.backlog.topic,
            output_topic=run.output_topic,
            dead_letter_topic=run.dead_letter_topic,
            folder=str(run.folder),
            settings=dict(self.settings),
        )
        command = [str(self.python()), "-m", f"bench.peers.programs.{self.program}"]
        argument = msgspec.json.encode(job).decode()
        return [ChildProcess([*command, argument], os.environ, folder=ROOT)]


@dataclass(frozen=True, kw_only=True)
class OwnProgram(PythonPeer):
    """A program in the environment of this service."""

    def python(self) -> Path:
        """Return the Python of this process."""
        return Path(sys.executable)
