"""The same job as a Kafka Streams application: the sources are in bench/peers/kafka_streams/."""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.backlog import PARTITIONS, Placement
from bench.peers.contenders.contender import Contender, Run
from dev.kafka_jars import LocalKafkaError, cache_dir, copy_jars, java_command, locked
from tests.support.child_process import ChildProcess

SOURCES: Final = Path(__file__).parent.parent / "kafka_streams"
MAIN: Final = "checkpointready.CheckpointReadyStreams"
COMPILE_SECONDS: Final = 300
# Room for the ids in memory: 1.4 million of them need about 300 MB.
LEAST_HEAP_MIB: Final = 1024
HEAP_BYTES_PER_ID: Final = 400


@dataclass(frozen=True, kw_only=True)
class KafkaStreams(Contender):
    """One thread of Kafka Streams with exactly_once_v2. `settings` are properties of Streams."""

    store: str = "in-memory"

    def prepare(self) -> None:
        """Download the jars and compile the program, once."""
        compiled_program()

    def start(self, run: Run) -> list[ChildProcess]:
        """Start the process."""
        properties = {
            "bootstrap.servers": run.cluster.bootstrap_servers,
            "application.id": run.group,
            "state.dir": str(run.folder / "state"),
            "num.stream.threads": "1",
            "job.input": run.backlog.topic,
            "job.output": run.output_topic,
            "job.dead-letters": run.dead_letter_topic,
            "job.partitions": str(PARTITIONS),
            "job.repartition": str(self.placement is Placement.RANDOM).lower(),
            "job.store": self.store,
            **self.settings,
        }
        file = run.folder / "streams.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        jars, classes = compiled_program()
        heap = max(LEAST_HEAP_MIB, run.backlog.distinct * HEAP_BYTES_PER_ID // 2**20)
        command = [
            java_command(),
            f"-Xmx{heap}m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            f"{classes}:{jars}/*",
            MAIN,
            str(file),
        ]
        return [ChildProcess(command, folder=run.folder)]


def compiled_program() -> tuple[Path, Path]:
    """Return the folder of the jars and that of the compiled classes. Both are in the cache.

    Raises:
        LocalKafkaError: Java, its compiler or Maven is missing, or one of them failed.
    """
    java_command()
    jars = _cached_folder("streams-jars", [SOURCES / "pom.xml"])
    classes = _cached_folder("streams-classes", sorted(SOURCES.iterdir()))
    with locked(cache_dir() / "streams-build.lock"):
        if not jars.is_dir():
            copy_jars(SOURCES / "pom.xml", jars, "Kafka Streams and Jackson", {})
        if not classes.is_dir():
            _compile(jars, classes)
    return jars, classes


def _cached_folder(name: str, sources: list[Path]) -> Path:
    """Return the folder in the cache for this content of the sources."""
    content = b"".join(source.read_bytes() for source in sources)
    return cache_dir() / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"


def _compile(jars: Path, classes: Path) -> None:
    compiler = shutil.which("javac")
    if compiler is None:
        raise LocalKafkaError(
            "the compiler of Java (javac) is missing: install a JDK, for example the Debian"
            " package openjdk-17-jdk-headless"
        )
    unfinished = Path(tempfile.mkdtemp(prefix=f"{classes.name}-", dir=classes.parent))
    try:
        done = subprocess.run(
            [
                compiler,
                "-Xlint:all,-processing",
                "-Werror",
                *("--release", "17"),
                *("-d", str(unfinished)),
                *("-cp", f"{jars}/*"),
                *map(str, sorted(SOURCES.glob("*.java"))),
            ],
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise LocalKafkaError(f"javac failed:\n{done.stdout}{done.stderr}")
        unfinished.chmod(0o755)
        unfinished.rename(classes)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
