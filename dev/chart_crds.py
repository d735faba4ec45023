"""Provides the CRDs of KEDA, the Prometheus operator, Dapr, the Gateway API and Strimzi.

Tests validate the objects of the chart and of examples/platforms with them. The CRDs are large and
generated, so they are not in the repository. The first use downloads them into the cache. Go checks
each Go module against its checksum database. The code below also compares the checksum with the
pinned one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from dev.chart_fetching import ChartToolMissing, announce, run
from dev.chart_strimzi import strimzi_definitions
from dev.kafka_jars import cache_dir, locked


class Source(NamedTuple):
    """A Go module, its checksum, and the files in it."""

    module: str
    checksum: str
    files: tuple[str, ...]


SOURCES = (
    Source(
        "github.com/kedacore/keda/v2@v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        (
            "config/crd/bases/keda.sh_scaledobjects.yaml",
            "config/crd/bases/keda.sh_triggerauthentications.yaml",
        ),
    ),
    Source(
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ),
    ),
    Source(
        "github.com/dapr/dapr@v1.14.0",
        "h1:SIQsNX1kH31JRDIS4k8IZ6eomM/BAcOP844PhQIT+BQ=",
        ("charts/dapr/crds/components.yaml", "charts/dapr/crds/subscription.yaml"),
    ),
    Source(
        "sigs.k8s.io/gateway-api@v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    ),
)
# Not a CRD: it describes each setting of Dapr's Kafka component.
DAPR_KAFKA = Source(
    "github.com/dapr/components-contrib@v1.18.0",
    "h1:528bpgWFN+xUfD5cleyDf3Ae53Rv1QJJJPdvDHFLfyE=",
    ("pubsub/kafka/metadata.yaml",),
)


def custom_resource_definitions() -> list[Path]:
    """Return the files with the CRDs. Download them once."""
    of_modules = [path for source in SOURCES for path in _definitions(source)]
    return of_modules + strimzi_definitions()


def dapr_kafka_settings() -> Path:
    """Return the file that describes the settings of Dapr's Kafka component. Download it once."""
    (path,) = _definitions(DAPR_KAFKA)
    return path


def _definitions(source: Source) -> list[Path]:
    folder = cache_dir() / "crds" / source.module.replace("/", "-")
    folder.parent.mkdir(exist_ok=True)
    with locked(folder.parent / f"{folder.name}.lock"):
        if not folder.is_dir():
            _download(source, folder)
    return [folder / Path(name).name for name in source.files]


def _download(source: Source, folder: Path) -> None:
    announce(f"{source.module}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        environment = {
            **os.environ,
            "GOFLAGS": "-modcacherw",
            "GOMODCACHE": str(Path(scratch) / "modules"),
        }
        download = ["go", "mod", "download", "-json", source.module]
        module = json.loads(run(download, folder=Path(scratch), environment=environment))
        if module["Sum"] != source.checksum:
            raise ChartToolMissing(
                f"{source.module} has the checksum {module['Sum']}, not the pinned one"
            )
        unfinished = Path(scratch) / "crds"
        unfinished.mkdir(mode=0o755)
        for name in source.files:
            shutil.copy(Path(module["Dir"]) / name, unfinished)
        unfinished.rename(folder)
