"""`make demo` as a newcomer runs it: the whole service, SIGKILLs midway, and the verdict."""

from __future__ import annotations

import json
import os
import re
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
KILLED = ("service-1", "ingest", "poll")
SOURCE = re.compile(r"(\w+): ([\d,]+) records of ([\d,]+) ids, ([\d,]+) ids published once")
ANSWERS = re.compile(
    r"requests answered \((\d+) with 202, (\d+) with 401, (\d+) with 422\), (\d+) r"
)


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
    for name in KILLED:
        assert f"SIGKILL to {name}\n" in finished.stdout
        assert f"{name} is started again\n" in finished.stdout
    verdict = json.loads(finished.stdout.splitlines()[-1])
    assert list(verdict) == KEYS
    assert verdict["produced"] >= 2000
    assert verdict["lost"] == verdict["published_twice"] == 0
    assert verdict["published"] == verdict["distinct_ids"] > 0
    accounted = verdict["published"] + verdict["duplicates"] + verdict["dead_letters"]
    assert accounted == verdict["produced"]
    assert 0 < verdict["conflicting"] < verdict["dead_letters"]
    sources = {
        name: [int(figure.replace(",", "")) for figure in figures]
        for name, *figures in SOURCE.findall(finished.stdout)
    }
    assert list(sources) == ["producer", "webhook", "poller"]
    assert all(ids == published_once for _, ids, published_once in sources.values())
    assert all(records > ids > 40 for records, ids, _ in sources.values())
    assert sum(records for records, _, _ in sources.values()) == verdict["produced"]
    assert sum(ids for _, ids, _ in sources.values()) == verdict["distinct_ids"]
    (answers,) = ANSWERS.findall(finished.stdout)
    accepted, unsigned, refused, retries = map(int, answers)
    assert accepted > 40
    assert unsigned > 0
    assert refused > 0
    assert retries > 0
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
