"""The same job as a Kafka Streams application: the sources are in bench/peers/kafka_streams/."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.backlog import PARTITIONS, Placement
from bench.peers.contenders.contender import Contender, Run
from dev.kafka_jars import java_command
from dev.programs import JavaProgram, java_program
from tests.support.child_process import ChildProcess

SOURCES: Final = Path(__file__).parent.parent / "kafka_streams"
MAIN: Final = "checkpointready.CheckpointReadyStreams"
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
        heap = max(LEAST_HEAP_MIB, run.backlog.distinct * HEAP_BYTES_PER_ID // 2**20)
        command = [
            java_command(),
            f"-Xmx{heap}m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            compiled_program().class_path,
            MAIN,
            str(file),
        ]
        return [ChildProcess(command, folder=run.folder)]


def compiled_program() -> JavaProgram:
    """Return the program. Its jars and its classes are in the cache.

    Raises:
        LocalKafkaError: Java or Maven is missing, or Maven failed.
        ToolchainError: the compiler of Java is missing, or it failed.
    """
    java_command()
    return java_program("streams", SOURCES / "pom.xml", SOURCES.glob("*.java"))
