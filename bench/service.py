"""Starts the service processes of a benchmark, on topics that only this benchmark uses."""

import signal
import uuid
from typing import Any, Final

from tests.support.child_process import DISCARD, END_SECONDS
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.records import home_shard
from tests.support.service_process import RUN, ServiceProcess
from tests.support.topics import Names

PARTITIONS: Final = 6
MIB: Final = 1024 * 1024


class BenchService(Deployment):
    """Topics and processes; a context manager that leaves no process running.

    The processes' logs are discarded, so that a measurement does not wait for a disk.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        name: str,
        *,
        start: bool = True,
        max_bytes: int | None = None,
        **settings: Any,  # noqa: ANN401 - handed through
    ) -> None:
        """Create the topics.

        Args:
            bootstrap_servers: the brokers of the topics.
            name: a part of the names of topics and group.
            start: whether to start a process at once.
            max_bytes: ``max.message.bytes`` of the input topic (default: that of the broker).
            settings: variables of the service, without their prefix.
        """
        super().__init__(
            Cluster(bootstrap_servers),
            Names(f"bench-{name}-{uuid.uuid4().hex[:6]}"),
            input_partitions=PARTITIONS,
            input_config={} if max_bytes is None else {"max.message.bytes": str(max_bytes)},
            log=DISCARD,
            **settings,
        )
        if start:
            self.start()

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        """Stop the processes, so that no transaction stays open on the cluster."""
        for process in self.processes:
            process.signal(signal.SIGTERM)
        for process in self.processes:
            process.stop(END_SECONDS)
        super().__exit__(kind, *others)

    def start_logged(self, *command: str) -> ServiceProcess:
        """Start one more process and keep its log; the default command runs the service."""
        return self._keep(ServiceProcess(command or RUN, self.environment))

    @property
    def cpu_seconds(self) -> float:
        """User and system time that the processes have used until now."""
        return sum(process.cpu_seconds for process in self.processes)

    @property
    def peak_memory_mib(self) -> int:
        """The highest resident memory that any of the processes had until now."""
        return max(process.peak_memory_bytes for process in self.processes) // MIB

    @property
    def memory_mib(self) -> int:
        """The resident memory of the process that uses the most now."""
        return max((process.memory_bytes for process in self.processes), default=0) // MIB


def home_partition(checkpoint_id: str) -> int:
    """Return the input partition that the id's home shard reads."""
    return home_shard(checkpoint_id, PARTITIONS)
