"""Runs podman with separate storage: builds the image and runs it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dev.image_base import ImageError, base_archive, base_name
from dev.image_pip import pip_secrets
from dev.kafka_jars import cache_dir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
IMAGE: Final = "checkpoint-ready:image-test"
# The state of podman about mounts and processes must not survive a reboot.
RUN_FOLDER: Final = "/run/checkpoint-ready-containers"
# By default podman raises limits, which root may not do on every machine.
LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
# Stricter than the chart: the container runs as the user of the image, and cannot write to /tmp.
STRICT: Final = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)
COMMAND_SECONDS = 120
BUILD_SECONDS = 900
LOG_TAIL_CHARACTERS = 3000


class Podman:
    """The container engine. Its storage is in the cache of the project."""

    def __init__(self) -> None:
        storage = cache_dir() / "containers"
        self.command: Final = ["podman", f"--root={storage}", f"--runroot={RUN_FOLDER}"]

    def provide_base(self) -> str:
        """Return the name of the base image. Create and import it once."""
        name = base_name()
        if not self._succeeds("image", "exists", name):
            self.call("import", "--quiet", str(base_archive()), name)
        return name

    def build(self, base: str, revision: str, extras: str) -> None:
        """Build the image with the repository's Dockerfile; `extras` may be empty."""
        with tempfile.TemporaryDirectory(prefix="checkpoint-ready-image-") as folder:
            self.call(
                "build",
                "--network=host",
                *LIMITS,
                f"--build-arg=BASE={base}",
                f"--build-arg=REVISION={revision}",
                f"--build-arg=EXTRAS={extras}",
                *pip_secrets(Path(folder)),
                f"--tag={IMAGE}",
                str(ROOT),
                deadline_seconds=BUILD_SECONDS,
            )

    def describe(self, name: str) -> dict[str, Any]:
        """Return the description of an image: size, user, labels."""
        described: list[dict[str, Any]] = json.loads(self.call("image", "inspect", name))
        return described[0]

    def run_arguments(
        self, environment: Mapping[str, str], arguments: Sequence[str], *options: str
    ) -> list[str]:
        """Return the command line that runs the image with these options."""
        settings = [f"--env={name}={value}" for name, value in environment.items()]
        return [
            *(*self.command, "run", "--rm", "--network=host", "--pull=never", *LIMITS),
            *(*settings, *options, IMAGE, *arguments),
        ]

    def run(self, environment: Mapping[str, str], arguments: Sequence[str], *options: str) -> str:
        """Run the image until it ends with code 0. Return its output."""
        return self._finish(self.run_arguments(environment, arguments, *options))

    def call(self, *arguments: str, deadline_seconds: float = COMMAND_SECONDS) -> str:
        """Run a command of podman until it ends. Return its output."""
        return self._finish([*self.command, *arguments], deadline_seconds)

    def _succeeds(self, *arguments: str) -> bool:
        command = [*self.command, *arguments]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own arguments

    @staticmethod
    def _finish(command: list[str], deadline_seconds: float = COMMAND_SECONDS) -> str:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_seconds,
            check=False,
        )
        if done.returncode != 0:
            tail = (done.stdout + done.stderr)[-LOG_TAIL_CHARACTERS:]
            shown = " ".join(command[3:])
            raise ImageError(f"podman {shown} ended with {done.returncode}:\n{tail}")
        return done.stdout
