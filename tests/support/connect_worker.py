"""A standalone worker of Kafka Connect, from Kafka's own jars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

from dev.connect_jars import connect_jars
from dev.kafka_jars import java_command, kafka_version
from dev.kafka_node import LOG_SETTINGS, java_flags
from tests.support.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PROGRAM = "org.apache.kafka.connect.cli.ConnectStandalone"

ConnectorConfig = dict[str, str]


class ConnectWorker:
    """One worker with its connectors, from its start to its end."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        connectors: Mapping[str, ConnectorConfig],
    ) -> None:
        """Start the worker.

        Args:
            folder: an empty folder for the files of the worker.
            settings: the settings of the worker, with `bootstrap.servers`.
            connectors: the configuration of each connector, by its name.
        """
        jars = connect_jars(kafka_version())
        worker = folder / "worker.properties"
        worker.write_text(_properties({**_own_settings(folder), **settings}))
        self._process = ChildProcess(
            [
                java_command(),
                *java_flags(jars),
                f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
                *("-cp", f"{jars}/*", PROGRAM, str(worker)),
                *_connector_files(folder, connectors),
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


def _own_settings(folder: Path) -> dict[str, str]:
    """Return what a worker needs beside the settings of a user: a file, a port, and speed."""
    return {
        "offset.storage.file.filename": str(folder / "source-offsets"),
        "offset.flush.interval.ms": "200",
        "listeners": "http://127.0.0.1:0",
        "plugin.discovery": "service_load",  # does not scan all jars
    }


def _connector_files(folder: Path, connectors: Mapping[str, ConnectorConfig]) -> Iterable[str]:
    for name, config in connectors.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps({"name": name, "config": config}))
        yield str(file)


def _properties(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())
