"""Ends the process if something at the brokers keeps failing that only an operator can fix.

The calls that fail are repeated by the client library or by new tasks, so without this watch the
process would only end when the stall detector finds no progress, and its message would not name the
cause.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from consumer.errors import ClusterError, TaskFailed, TransientError
from consumer.kafka.broker_settings import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, uncreatable
from consumer.kafka.cluster_faults import CurrentFault, Fault
from consumer.kafka.port import ClusterAdmin
from consumer.worker.open_files import RAISE_HARD_LIMIT, Needs

WATCH_SECONDS: Final = 1.0
# A broker that restarts is no news.
WARN_AFTER_SECONDS: Final = 5.0
WARN_AGAIN_SECONDS: Final = 60.0
COORDINATOR_TOPICS: Final = {
    Fault.GROUP_COORDINATOR: OFFSETS_TOPIC,
    Fault.TRANSACTION_COORDINATOR: TRANSACTIONS_TOPIC,
}
log = structlog.get_logger(__name__)


class FaultWatch:
    """Warns of each fault while it is young, and ends the process when it lasts."""

    def __init__(
        self, admin: ClusterAdmin, needs: Callable[[], Needs], clock: Callable[[], float]
    ) -> None:
        """`needs` returns how many connections and open files a process with all shards needs."""
        self._admin = admin
        self._needs = needs
        self._clock = clock
        self._next_warning: dict[tuple[Fault, str], float] = {}

    async def keep_watching(self) -> None:
        """Check once a second.

        Raises:
            ClusterError: a fault lasts, and only an operator can fix it.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.check(self._admin.current_faults())

    async def check(self, faults: Iterable[CurrentFault]) -> None:
        """Log each fault that does not end the process, at most once a minute.

        Raises:
            ClusterError: a fault lasts, and only an operator can fix it.
        """
        for fault in faults:
            if fault.is_lasting and (problem := await self._problem(fault)):
                raise ClusterError(problem)
            next_warning = self._next_warning.get((fault.kind, fault.subject), 0.0)
            if fault.seconds >= WARN_AFTER_SECONDS and self._clock() >= next_warning:
                again_at = self._clock() + WARN_AGAIN_SECONDS
                self._next_warning[fault.kind, fault.subject] = again_at
                log.warning("cluster_fault", error=_sentence(fault), seconds=round(fault.seconds))

    async def _problem(self, fault: CurrentFault) -> str | None:
        """Return what an operator must fix; None if the fault may end by itself."""
        sentence = f"{_sentence(fault)} (for {fault.seconds:.0f} s)"
        if fault.kind is Fault.LOGIN:
            return sentence
        if fault.kind is Fault.OPEN_FILES:
            return f"{sentence}: {RAISE_HARD_LIMIT.format(needed=self._needs().open_files)}"
        if fault.kind is Fault.CLOSED_AT_ONCE:
            return (
                f"{sentence}: one process with all shards needs up to {self._needs().connections} "
                "connections to a broker; raise max.connections.per.ip and max.connections of the "
                "brokers, or the limit of a proxy, or run more processes"
            )
        if fault.kind in COORDINATOR_TOPICS:
            return await self._coordinator_problem(fault, sentence)
        return None

    async def _coordinator_problem(self, fault: CurrentFault, sentence: str) -> str | None:
        topic = COORDINATOR_TOPICS[fault.kind]
        try:
            found = await self._admin.broker_settings()
        except (ClusterError, TaskFailed, TransientError):
            return None  # the brokers do not answer now: this is another fault
        if not found.may_exceed_brokers(topic):
            # A query failed, or a partition of the topic has no leader until its brokers are back.
            return None
        return f"{sentence}: {uncreatable(topic, found)}"


def _sentence(fault: CurrentFault) -> str:
    if fault.kind is Fault.LOGIN:
        return f"log in to {fault.subject}: {fault.text}"
    if fault.kind is Fault.OPEN_FILES:
        return f"no more connections can be opened: {fault.text}"
    if fault.kind is Fault.CLOSED_AT_ONCE:
        return f"{fault.subject} closes new connections at once, and answers on others"
    if fault.kind is Fault.GROUP_COORDINATOR:
        return "the brokers have no coordinator for the consumer group"
    if fault.kind is Fault.TRANSACTION_COORDINATOR:
        return "the brokers have no transaction coordinator"
    return fault.text
