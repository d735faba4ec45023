"""Service processes under measurement, mostly one, with topics of their own."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Self

from murmurhash2 import murmurhash2

from tests.integration.cluster import Cluster

PARTITIONS = 6
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class BenchService:
    """Topics and processes; a context manager that leaves none of these running."""

    def __init__(
        self,
        bootstrap_servers: str,
        name: str,
        *,
        start: bool = True,
        max_bytes: int | None = None,
        **settings: str,
    ) -> None:
        self.cluster = Cluster(bootstrap_servers)
        prefix = f"bench-{name}-{uuid.uuid4().hex[:6]}"
        self.group = prefix
        self.input, self.output = f"{prefix}.input", f"{prefix}.ready"
        self.dead_letters = f"{prefix}.dead"
        self._max_bytes = max_bytes
        self.environment = {
            **os.environ,
            "CHECKPOINT_READY_BOOTSTRAP_SERVERS": bootstrap_servers,
            "CHECKPOINT_READY_GROUP_ID": prefix,
            "CHECKPOINT_READY_INPUT_TOPICS": self.input,
            "CHECKPOINT_READY_OUTPUT_TOPIC": self.output,
            "CHECKPOINT_READY_DEAD_LETTER_TOPIC": self.dead_letters,
            "CHECKPOINT_READY_LOG_FORMAT": "json",
            "CHECKPOINT_READY_HTTP_PORT": "0",
            **{f"CHECKPOINT_READY_{name}": value for name, value in settings.items()},
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start_now = start

    def __enter__(self) -> Self:
        if self._max_bytes is not None:
            config = {"max.message.bytes": str(self._max_bytes)}
            self.cluster.create_topics({self.input: PARTITIONS}, config)
        self._run("topics", "create", "--input-partitions", str(PARTITIONS))
        if self._start_now:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(20)

    def start(self) -> None:
        """Start a process; once more, for one more."""
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "consumer", "run"],
                env=self.environment,
                stdout=subprocess.DEVNULL,
            )
        )

    @property
    def cpu_seconds(self) -> float:
        """User and system time that the processes have used so far."""
        ticks = 0
        for process in self._processes:
            stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
            fields = stat.rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / CLOCK_TICKS

    @property
    def peak_memory_mib(self) -> int:
        """The most resident memory that a process has had so far."""
        return self._most("VmHWM")

    @property
    def memory_mib(self) -> int:
        """The resident memory of the process that has the most."""
        return self._most("VmRSS")

    def home_partition(self, checkpoint_id: str) -> int:
        """Return the input partition that the id's home shard reads."""
        return int(murmurhash2(checkpoint_id.encode(), 0x9747B28C) & 0x7FFFFFFF) % PARTITIONS

    def _most(self, name: str) -> int:
        """Return the largest value of a line of the processes' status, which is in KiB, in MiB."""
        values = [0]
        for process in self._processes:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            values.append(int(status.partition(f"{name}:")[2].split()[0]) // 1024)
        return max(values)

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "consumer", *arguments],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
