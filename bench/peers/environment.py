"""The environment of the Python peers: a venv in the cache, from requirements/bench-peers.txt."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from dev.kafka_jars import cache_dir, locked
from tests.support.child_process import ROOT

REQUIREMENTS: Final = ROOT / "requirements" / "bench-peers.txt"
INSTALL_SECONDS: Final = 900


class PeersMissing(Exception):
    """The environment of the Python peers could not be made. The message says why."""


def peers_python() -> Path:
    """Return the Python of the environment. It is made at the first call on a machine.

    Raises:
        PeersMissing: pip failed.
    """
    content = REQUIREMENTS.read_bytes() + sys.version.encode()
    folder = cache_dir() / f"bench-peers-{hashlib.sha256(content).hexdigest()[:8]}"
    # The marker is written last: a folder without it is incomplete.
    complete = folder / "complete"
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
            complete.touch()
    return folder / "bin" / "python"


def _make(folder: Path) -> None:
    print("Installing the Python peers (once) …", file=sys.stderr, flush=True)
    python = folder / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(REQUIREMENTS)],
    ):
        with tempfile.TemporaryFile("w+") as output:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=INSTALL_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                message = f"{command[:3]} took longer than {INSTALL_SECONDS} s"
                raise PeersMissing(message) from None
            if done.returncode != 0:
                output.seek(0)
                raise PeersMissing(
                    f"the Python peers cannot be installed:\n{output.read()[-3000:]}"
                )
