"""`make demo` as a newcomer runs it: the whole service, a SIGKILL midway, and the verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from tests.support.cluster import RunningKafka

DEMO_SECONDS = 110
KEYS = [
    "produced",
    "distinct_ids",
    "published",
    "duplicates",
    "conflicting",
    "dead_letters",
    "lost",
    "published_twice",
]


def test_the_demo_accounts_for_every_record(kafka: RunningKafka) -> None:
    """Its last line has exactly these keys, everything adds up, and nothing keeps running."""
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    finished = subprocess.run(
        [sys.executable, "-m", "dev.demo", "--seed", "3", "--records", "2000", "--seconds", "4"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "SIGKILL" in finished.stdout
    verdict = json.loads(finished.stdout.splitlines()[-1])
    assert list(verdict) == KEYS
    assert verdict["produced"] >= 2000
    assert verdict["lost"] == verdict["published_twice"] == 0
    assert verdict["published"] == verdict["distinct_ids"] > 0
    accounted = verdict["published"] + verdict["duplicates"] + verdict["dead_letters"]
    assert accounted == verdict["produced"]
    assert 0 < verdict["conflicting"] < verdict["dead_letters"]
    assert not services_of(kafka.bootstrap_servers)


def services_of(bootstrap_servers: str) -> list[str]:
    """Return the service processes that still run on this broker."""
    wanted = f"CHECKPOINT_READY_BOOTSTRAP_SERVERS={bootstrap_servers}"
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                environment = (process / "environ").read_text(errors="replace")
                command = (process / "cmdline").read_text(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            if wanted in environment and "consumer" in command:
                found.append(command)
    return found
