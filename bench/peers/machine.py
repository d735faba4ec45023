"""Describes the machine and the versions, for the line above the figures."""

import os
import platform
import subprocess
from pathlib import Path

from bench.peers.broker import Cores
from bench.peers.report import Machine
from dev.kafka_jars import java_command, kafka_version
from tests.support.child_process import ROOT

COMMAND_SECONDS = 30


def describe(cores: Cores) -> Machine:
    """Return the description. It must be called before anything is started."""
    contender, others = (",".join(map(str, sorted(some))) for some in cores)
    shares = contender == others
    pinned = (
        "contender and broker share all cores"
        if shares
        else f"contender pinned to core {contender}, broker and the rest to core {others}"
    )
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        pinned=pinned,
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        java=_java_version(),
        kafka=kafka_version(),
        commit=_output("git", "rev-parse", "--short", "HEAD") or "unknown",
        load_average=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    try:
        information = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line for line in information.splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _java_version() -> str:
    settings = _output(java_command(), "-XshowSettings:properties", "-version")
    lines = [line for line in settings.splitlines() if "java.version =" in line]
    return lines[0].partition("=")[2].strip() if lines else "unknown"


def _output(*command: str) -> str:
    """Return what a command prints, or an empty text if it fails."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f"{done.stdout}{done.stderr}".strip() if done.returncode == 0 else ""
