"""Runs Kafka's own command-line tools, for requests that no client library can send."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from dev.kafka_jars import java_command, kafka_jars
from dev.kafka_node import java_flags

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOL_SECONDS = 120.0
FEATURES = "org.apache.kafka.tools.FeatureCommand"
TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"
CONFIGS = "kafka.admin.ConfigCommand"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
TOPICS = "org.apache.kafka.tools.TopicCommand"
SUCCESSFUL = " Successful"
QUOTAS = ("producer_byte_rate", "consumer_byte_rate")
OPEN_STATES = {"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"}


class ToolFailedError(Exception):
    """A tool has failed; the message contains its output."""


class OpenTransaction(NamedTuple):
    """A transaction that has not ended, as the coordinator lists it."""

    transactional_id: str
    state: str


class KafkaTools:
    """The tools for one cluster."""

    def __init__(self, bootstrap_servers: str, version: str) -> None:
        """Name the cluster."""
        self._servers = bootstrap_servers
        self._jars = kafka_jars(version)

    def hanging_transactions(self, topics: Iterable[str]) -> list[str]:
        """Return the rows that `find-hanging` prints for each topic, for transactions of any age.

        It is called with `--topic`: with `--broker-id` it reports no error for a missing broker.
        """
        found = []
        for topic in topics:
            command = ["find-hanging", "--topic", topic, "--max-transaction-timeout", "0"]
            found += [" ".join(row) for row in self._table("Topic", command)]
        return found

    def open_transactions(self, group: str) -> list[OpenTransaction]:
        """Return the transactions of a group's shards that are open or about to end."""
        rows = self._table("TransactionalId", ["list"])
        listed = [OpenTransaction(row[0], row[3]) for row in rows]
        return [
            one
            for one in listed
            if one.transactional_id.startswith(f"{group}-") and one.state in OPEN_STATES
        ]

    def run_transactions_command(self, line: str) -> str:
        """Run a `kafka-transactions.sh` command line from a log or a document."""
        program, *arguments = shlex.split(line)
        assert program == "kafka-transactions.sh"
        return self._run(TRANSACTIONS, arguments)

    def producers(self, topic: str, partition: int) -> list[tuple[int, int]]:
        """Return id and epoch of each producer of a partition, from its leader."""
        command = ["describe-producers", "--topic", topic, "--partition", str(partition)]
        return [(int(row[0]), int(row[1])) for row in self._table("ProducerId", command)]

    def feature_levels(self) -> dict[str, int]:
        """Return the finalized level of each feature with a number as its level (KIP-584)."""
        output = self._run(FEATURES, ["--bootstrap-server", self._servers, "describe"])
        levels = {}
        for line in output.splitlines():
            words = line.replace(":", " ").split()
            if (
                words[:1] == ["Feature"]
                and words[words.index("FinalizedVersionLevel") + 1].isdigit()
            ):
                levels[words[1]] = int(words[words.index("FinalizedVersionLevel") + 1])
        if not levels:
            raise ToolFailedError(f"describe: no feature in {output!r}")
        return levels

    def delete_offsets(self, group: str, topic: str) -> int:
        """Delete a group's offsets of a topic that it does not subscribe to; it may be active.

        Returns:
            The number of partitions whose offset was deleted.
        """
        servers = ["--bootstrap-server", self._servers]
        command = ["--delete-offsets", "--group", group, "--topic", topic]
        output = self._run(GROUPS, [*servers, *command])
        deleted = output.count(SUCCESSFUL)
        if not deleted:
            raise ToolFailedError(f"{' '.join(command)}: {output!r}")
        return deleted

    def delete_group(self, group: str) -> None:
        """Delete a group without members, with its offsets; a group that does not exist is fine.

        The admin client of librdkafka sometimes ends the process by a failed assertion if the
        coordinator dies meanwhile (seen with 2.16.0).
        """
        command = ["--bootstrap-server", self._servers, "--delete", "--group", group]
        try:
            self._run(GROUPS, command)
        except ToolFailedError as error:
            if "GroupIdNotFoundException" not in str(error):
                raise

    def set_partitions(self, topic: str, total: int) -> None:
        """Enlarge a topic; it is all right if it has this number already."""
        command = ["--alter", "--topic", topic, "--partitions", str(total)]
        try:
            self._run(TOPICS, ["--bootstrap-server", self._servers, *command])
        except ToolFailedError as error:
            if f"already has {total} partition" not in str(error):
                raise

    def set_quota(self, **limits: int) -> None:
        """Limit each client id: `producer_byte_rate=100_000` (bytes/s); without limits, end it."""
        entity = ["--entity-type", "clients", "--entity-default"]
        change = (
            ["--add-config", ",".join(f"{name}={limit}" for name, limit in limits.items())]
            if limits
            else ["--delete-config", ",".join(QUOTAS)]
        )
        command = ["--bootstrap-server", self._servers, "--alter", *entity, *change]
        self._run(CONFIGS, command)

    def _table(self, first_column: str, command: list[str]) -> list[list[str]]:
        """Run a command of TransactionsCommand and return the rows of its table."""
        output = self._run(TRANSACTIONS, ["--bootstrap-server", self._servers, *command])
        lines = [line.split() for line in output.splitlines() if line.strip()]
        heads = [number for number, line in enumerate(lines) if line[0] == first_column]
        if not heads:
            raise ToolFailedError(f"{' '.join(command)}: no table in {output!r}")
        return lines[heads[0] + 1 :]

    def _run(self, tool: str, arguments: list[str]) -> str:
        command = [
            java_command(),
            *java_flags(self._jars),
            "-Dlog4j2.level=ERROR",
            *("-cp", f"{self._jars}/*"),
            tool,
            *arguments,
        ]
        try:
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TOOL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ToolFailedError(f"{arguments} did not end in time") from error
        if ended.returncode != 0 or "Error:" in ended.stdout:
            raise ToolFailedError(f"{arguments}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        return ended.stdout
