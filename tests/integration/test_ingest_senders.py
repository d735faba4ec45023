"""Two independent client libraries, in Python and JavaScript, sign webhooks for the receiver."""

from __future__ import annotations

import base64
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from dev.toolchains import npm_packages, python_environment, tool
from tests.support.child_process import ROOT
from tests.support.deployment import Deployment
from tests.support.ingest import start_ingest
from tests.support.records import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SENDERS = ROOT / "tests/support/webhook_senders"
SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef01234567').decode()}"
OTHER = f"whsec_{base64.b64encode(b'76543210fedcba9876543210').decode()}"
RUN_SECONDS = 60


def python_command() -> list[str]:
    """Return the command of the sender in Python."""
    python = python_environment(ROOT / "requirements/webhook-senders.txt")
    return [str(python), str(SENDERS / "send.py")]


def node_command(folder: Path) -> list[str]:
    """Return the command of the sender in JavaScript, which runs in this folder."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js 20 or newer, with npm")
    (folder / "node_modules").symlink_to(npm_packages(SENDERS) / "node_modules")
    shutil.copyfile(SENDERS / "send.mjs", folder / "send.mjs")
    return [tool("node"), str(folder / "send.mjs")]


def test_libraries_of_others_sign_what_the_receiver_accepts(
    cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """Each is accepted with the right secret. With another secret it is not."""
    (tmp_path / "secret").write_text(SECRET)
    more = f'[webhooks.w]\nkind = "standard-webhooks"\nsecret_files = ["{tmp_path}/secret"]'
    commands = {"python": python_command(), "node": node_command(tmp_path)}
    with Deployment(cluster, names, create_topics=False) as deployment:
        ingest = start_ingest(deployment, tmp_path, more)
        url = f"http://127.0.0.1:{ingest.port}/v1/webhooks/w"
        for name, command in commands.items():
            for secret, status in ((SECRET, "202"), (OTHER, "401")):
                done = subprocess.run(
                    [*command, secret, url, checkpoint(name).decode()],
                    capture_output=True,
                    text=True,
                    timeout=RUN_SECONDS,
                    check=False,
                )
                assert status in done.stdout + done.stderr, done.stdout + done.stderr
        keys = sorted(record.key or b"" for record in cluster.read(deployment.input_topic))
        assert keys == [b"node", b"python"]
