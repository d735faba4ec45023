"""kubectl and Helm as a person runs them, with no other configuration than that of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from dev.chart_tools import helm, kubectl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cluster.api import Object

NAMESPACE = "checkpoints"
TIMEOUT_SECONDS = 300.0
LOOK_SECONDS = 1.0


class Refused(Exception):
    """A command ended with another code than 0; the message is what it said."""


class Said(NamedTuple):
    """What a command printed."""

    output: str
    complaints: str


class KubernetesTools:
    """Both programs, for one cluster and one namespace of it."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        # Called every second while a command runs: waiting for what cannot come is of no use.
        self.require_alive: Callable[[], None] = lambda: None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(kubeconfig),
        }

    def kubectl(self, *arguments: str, text: str = "") -> Said:
        """Run kubectl in the namespace, with this text as its standard input."""
        return self._run(kubectl(), arguments, text)

    def helm(self, *arguments: str, program: Path | None = None) -> Said:
        """Run Helm, or another release of it, in the namespace."""
        return self._run(program or helm(), arguments, "")

    def get(self, kind: str, *arguments: str) -> list[Object]:
        """Return objects: all of a kind, or those that the arguments choose."""
        said = self.kubectl("get", kind, *arguments, "--output=json").output
        found = json.loads(said)
        items = found["items"] if found["kind"].endswith("List") else [found]
        return list(items)

    def explain(self) -> str:
        """Return what a person would look at when something does not come to be."""
        looks = (
            ("get", "deployments,replicasets,jobs,pods", "--output=wide"),
            ("get", "events", "--sort-by=.metadata.creationTimestamp"),
        )
        return "\n".join(self.kubectl(*look).output for look in looks)

    def _run(self, program: Path, arguments: tuple[str, ...], text: str) -> Said:
        # A file, not a pipe: what is given to `communicate` is lost where it is called again.
        with tempfile.TemporaryFile("w+") as given:
            given.write(text)
            given.seek(0)
            process = subprocess.Popen(
                [program, f"--namespace={NAMESPACE}", *arguments],
                env=self._environment,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the run
            )
            with process:
                try:
                    said = self._communicate(process)
                except BaseException:
                    process.kill()
                    raise
        if process.returncode:
            command = " ".join([program.name, *arguments])
            raise Refused(
                f"{command} ended with {process.returncode}:\n{said.complaints}{said.output}"
            )
        return said

    def _communicate(self, process: subprocess.Popen[str]) -> Said:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                return Said(*process.communicate(timeout=LOOK_SECONDS))
            except subprocess.TimeoutExpired:
                self.require_alive()
                if time.monotonic() > deadline:
                    raise
