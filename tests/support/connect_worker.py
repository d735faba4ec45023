"""Workers of Kafka Connect, from Kafka's own jars."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Self

from dev.connect_jars import connect_jars
from dev.free_ports import free_ports
from dev.kafka_jars import java_command, kafka_version
from dev.kafka_node import LOG_SETTINGS, java_flags
from tests.support.child_process import ChildProcess
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STANDALONE = "org.apache.kafka.connect.cli.ConnectStandalone"
DISTRIBUTED = "org.apache.kafka.connect.cli.ConnectDistributed"
START_SECONDS = 60.0
CREATED = 201

ConnectorConfig = dict[str, str]


class ConnectWorker:
    """One worker, from its start to its end."""

    def __init__(
        self, folder: Path, program: str, settings: Mapping[str, str], *files: Path
    ) -> None:
        """Start the worker. A standalone worker also gets a file for each connector."""
        jars = connect_jars(kafka_version())
        worker = folder / "worker.properties"
        own = {
            "offset.flush.interval.ms": "200",
            "plugin.discovery": "service_load",  # does not scan all jars
        }
        worker.write_text("".join(f"{name}={it}\n" for name, it in {**own, **settings}.items()))
        self._process = ChildProcess(
            [
                java_command(),
                *java_flags(jars),
                f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
                *("-cp", f"{jars}/*", program, str(worker)),
                *map(str, files),
            ]
        )

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self._process.close()

    @property
    def has_ended(self) -> bool:
        """Whether the worker has ended."""
        return self._process.has_ended

    @property
    def log(self) -> str:
        """The output of the worker until now."""
        return self._process.read_output(0).decode(errors="replace")

    @property
    def log_tail(self) -> str:
        """The end of the output, for a message."""
        return self._process.tail()


class StandaloneWorker(ConnectWorker):
    """A worker that gets its connectors when it starts, and keeps nothing in topics."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], connectors: Mapping[str, ConnectorConfig]
    ) -> None:
        """Start the worker with these connectors, by their names."""
        own = {
            "offset.storage.file.filename": str(folder / "source-offsets"),
            "listeners": "http://127.0.0.1:0",
        }
        files = [folder / f"{name}.json" for name in connectors]
        for file, (name, config) in zip(files, connectors.items(), strict=True):
            file.write_text(json.dumps({"name": name, "config": config}))
        super().__init__(folder, STANDALONE, {**own, **settings}, *files)


class DistributedWorker(ConnectWorker):
    """A worker that keeps its connectors and their state in topics."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Start the worker. `create` adds a connector."""
        (self._port,) = free_ports(1)
        own = {"listeners": f"http://127.0.0.1:{self._port}"}
        super().__init__(folder, DISTRIBUTED, {**own, **settings})

    def create(self, name: str, config: ConnectorConfig) -> None:
        """Create a connector as soon as the worker accepts it."""
        body = json.dumps({"name": name, "config": config})

        def is_created() -> bool:
            assert not self.has_ended, self.log_tail
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_SECONDS)
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/connectors", body, headers)
                return connection.getresponse().status == CREATED
            except OSError:  # it does not listen yet
                return False
            finally:
                connection.close()

        wait_until(is_created, START_SECONDS, what=f"the connector {name}")
