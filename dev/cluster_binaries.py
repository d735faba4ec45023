"""Provides the programs of a Kubernetes control plane: etcd, and three that Go builds once.

``python -m dev.cluster_binaries`` provides the missing programs, in about ten minutes on two cores.
No available package contains the three programs, so they are built from the Go module of
Kubernetes. Go checks the Go module against its checksum database. The code below also compares the
checksum with the pinned one. Only the programs (0.3 GB) are kept, in a cache folder named by their
version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from dev.chart_fetching import ChartToolMissing, announce, fetch_debian_program, run
from dev.kafka_jars import cache_dir, locked

KUBERNETES_VERSION = "1.37.2"
MODULE = f"k8s.io/kubernetes@v{KUBERNETES_VERSION}"
CHECKSUM = "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
BUILD_TIMEOUT_SECONDS = 3600
# Two parallel compilers need at most 2.7 GB.
PARALLEL = 2
STAGED = re.compile(r"^\s*(?:replace )?(k8s\.io/\S+) => \./staging/src/\1$", re.MULTILINE)


class ClusterBinaries(NamedTuple):
    """The paths of the programs."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path


def are_cached() -> bool:
    """Return whether all programs are present, so that nothing must be built or downloaded."""
    return _folder().is_dir() and _existing_etcd() is not None


def cluster_binaries() -> ClusterBinaries:
    """Return the programs. Build or download the missing ones.

    Raises:
        ChartToolMissing: a program cannot be provided. The message names it.
    """
    folder = _folder()
    with locked(cache_dir() / f"{folder.name}.lock"):
        etcd = _existing_etcd() or _fetch_etcd()
        if not folder.is_dir():
            _build(folder)
    return ClusterBinaries(etcd, *(folder / program for program in PROGRAMS))


def _folder() -> Path:
    return cache_dir() / f"kubernetes-{KUBERNETES_VERSION}"


def _existing_etcd() -> Path | None:
    unpacked = cache_dir() / "etcd"
    if unpacked.is_file():
        return unpacked
    installed = shutil.which("etcd")
    return Path(installed) if installed else None


def _fetch_etcd() -> Path:
    if shutil.which("apt-get") is None:
        raise ChartToolMissing("etcd is missing: install it (macOS: brew install etcd)")
    program = cache_dir() / "etcd"
    fetch_debian_program("etcd-server", "usr/bin/etcd", program)
    return program


def _build(folder: Path) -> None:
    announce(f"and building Kubernetes {KUBERNETES_VERSION}, which takes about ten minutes")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        source = Path(scratch) / "source"
        unfinished = Path(scratch) / "bin"
        source.mkdir()
        unfinished.mkdir(mode=0o755)
        _write_module(source)
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": f"-mod=mod -buildvcs=false -p={PARALLEL}",
        }
        for program in PROGRAMS:
            print(f"  {program} …", file=sys.stderr, flush=True)
            run(
                ["nice", *_build_command(program, unfinished / program)],
                folder=source,
                environment=environment,
                timeout_seconds=BUILD_TIMEOUT_SECONDS,
            )
        unfinished.rename(folder)
    print(f"  built in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _build_command(program: str, target: Path) -> list[str]:
    """Return the build command. The program has no debug information, and reports its version."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    variables = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    version = " ".join(
        f"-X k8s.io/component-base/version.{name}={text}" for name, text in variables.items()
    )
    package = f"k8s.io/kubernetes/cmd/{program}"
    return ["go", "build", "-trimpath", f"-ldflags=-s -w {version}", f"-o={target}", package]


def _write_module(folder: Path) -> None:
    """Write a Go module that depends on Kubernetes.

    The go.mod of Kubernetes replaces some modules by its own folders (`staging`). Go applies only
    the replacements of the main module. So this go.mod replaces each of them by its release.
    """
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    download = ["go", "mod", "download", "-json", MODULE]
    module = json.loads(run(download, folder=folder, environment=environment))
    if module["Sum"] != CHECKSUM:
        raise ChartToolMissing(f"{MODULE} has the checksum {module['Sum']}, not the pinned one")
    of_kubernetes = Path(module["GoMod"]).read_text()
    staged = sorted(set(STAGED.findall(of_kubernetes)))
    language = re.findall(r"^(?:go|godebug) .*$", of_kubernetes, re.MULTILINE)
    version = f"v0.{KUBERNETES_VERSION.partition('.')[2]}"
    lines = [
        "module checkpoint-ready/cluster",
        *language,
        f"require {MODULE.replace('@', ' ')}",
        *(f"replace {name} => {name} {version}" for name in staged),
    ]
    (folder / "go.mod").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Provide the missing programs and print their paths."""
    try:
        for program in cluster_binaries():
            print(program)
    except ChartToolMissing as error:
        sys.exit(f"checkpoint-ready: {error}")


if __name__ == "__main__":
    main()
