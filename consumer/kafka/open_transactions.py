"""Finds transactions that the brokers left open, and refuses to write where one hangs.

A fence (InitProducerId) should end the previous owner's open transaction in every partition. But if
a partition has no leader at that moment, the coordinator treats the partition as deleted and never
writes a marker there (seen on Kafka 4.3.1). The next marker of the same producer in that partition
then ends both transactions. If this marker is a commit, it makes aborted records visible.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from consumer.errors import HangingTransaction, Leaderless
from consumer.kafka.port import ClusterAdmin, TransactionalWriter
from consumer.kafka.types import OpenTransaction, OpenTransactions, TopicPartition

CHECKS: Final = 3
CHECK_SECONDS: Final = 1.0
RUNBOOK: Final = "docs/operations/runbook.md, When a transaction hangs"
log = structlog.get_logger(__name__)


class OpenTransactionCheck:
    """Queries the leaders for open transactions in the topics of a shard or of a job.

    It also queries the `optional` topics if the ACLs allow it. If an optional topic cannot be
    queried, or a broker is too old for the query, the check logs the reason. It logs again only
    when that reason changes, or when the query fails again after it has succeeded.
    """

    def __init__(
        self,
        admin: ClusterAdmin,
        bootstrap_servers: str,
        topics: Iterable[str],
        optional: Iterable[str] = (),
    ) -> None:
        self._admin = admin
        self._bootstrap_servers = bootstrap_servers
        self.topics = tuple(topics)
        self._optional = tuple(optional)
        self._reported: dict[str, str] = {}

    async def query(self) -> OpenTransactions:
        """Return every open transaction in these topics, of any producer.

        Raises:
            TransientError, TaskFailed: a partition's leader has just moved or does not answer.
            ClusterError: the ACLs do not permit Read on a topic that is not optional.
        """
        answer = await self._admin.open_transactions(self.topics, self._optional)
        gaps = dict(answer.not_queried)
        gaps |= {
            f"broker {broker}": "it is older than Kafka 2.8, which introduced DescribeProducers"
            for broker in answer.unsupported_brokers
        }
        for name, reason in gaps.items():
            if self._reported.get(name) != reason:
                # A missing ACL on an optional topic is no fault: operators need not grant it.
                write = log.info if name in answer.not_queried else log.warning
                write("hanging_check_incomplete", not_asked=name, reason=reason)
        self._reported = gaps
        return answer

    async def left_open(self, writer: TransactionalWriter) -> tuple[OpenTransaction, ...]:
        """Return the transactions that earlier owners of the writer's transactional id left open.

        `writer` must have called ``fence``. The result is empty as soon as one of three queries
        finds no open transaction, because a marker can be late. If a later owner has fenced
        `writer` in turn, the transactions of that later owner are ignored.

        Partitions that could not be queried now become the writer's ``unchecked``: those without a
        leader, and those of optional topics whose leader has just moved.

        Raises:
            TransientError, TaskFailed, ClusterError: as ``query``.
        """
        for attempt in range(CHECKS):
            answer = await self.query()
            writer.unchecked = answer.unchecked
            found = of_earlier_owners(answer.found, *writer.producer_id_and_epoch)
            if not found or attempt == CHECKS - 1:
                break
            await asyncio.sleep(CHECK_SECONDS)
        return found

    async def refuse_hanging(self, writer: TransactionalWriter) -> None:
        """Raise if an earlier owner of the writer's transactional id left a transaction open.

        Raises:
            HangingTransaction: an operator must end that transaction.
            TransientError, TaskFailed, ClusterError: as ``query``.
        """
        found = await self.left_open(writer)
        if found:
            raise HangingTransaction(self.describe(writer.transactional_id, found))

    def describe(self, transactional_id: str, found: Iterable[OpenTransaction]) -> str:
        """Return the error text: where a transaction hangs, and the commands that end it."""
        found = list(found)
        places = ", ".join(
            f"{it.partition.topic}/{it.partition.partition} from offset {it.start_offset} on"
            for it in found
        )
        commands = "; ".join(self.abort_command(it) for it in found)
        return (
            f"a transaction of {transactional_id} hangs in {places}: the brokers ended it without "
            "a marker there, so the next transaction would also commit or abort the records of "
            "the hanging one. Read "
            f"{RUNBOOK}. This aborts it there: {commands}"
        )

    def abort_command(self, found: OpenTransaction) -> str:
        """Return the command that ends a hanging transaction in one partition (KIP-664)."""
        place = f"--topic {found.partition.topic} --partition {found.partition.partition}"
        return self._command(f"abort {place} --start-offset {found.start_offset}")

    def describe_command(self, found: OpenTransaction) -> str:
        """Return the command that shows the producers of this partition (KIP-664)."""
        place = f"--topic {found.partition.topic} --partition {found.partition.partition}"
        return self._command(f"describe-producers {place}")

    def _command(self, arguments: str) -> str:
        return f"kafka-transactions.sh --bootstrap-server {self._bootstrap_servers} {arguments}"


def of_earlier_owners(
    found: Iterable[OpenTransaction], producer_id: int, epoch: int
) -> tuple[OpenTransaction, ...]:
    """Return the transactions of this producer id whose epoch is lower than the given one."""
    return tuple(it for it in found if it.producer_id == producer_id and it.producer_epoch < epoch)


def refuse_unchecked(writer: TransactionalWriter, targets: Iterable[TopicPartition]) -> None:
    """Refuse a transaction that writes to an ``unchecked`` partition of its writer.

    Raises:
        Leaderless: the message names the partitions.
    """
    unchecked = sorted(writer.unchecked.intersection(targets))
    if unchecked:
        names = ", ".join(f"{it.topic}/{it.partition}" for it in unchecked)
        raise Leaderless(
            f"send: the transaction writes to {names}, which had no leader that answered at the "
            "last check for hanging transactions"
        )
