"""An in-memory Kafka behind the port, for tests without a JVM.

``tests/integration/test_port_conformance.py`` checks that it behaves as a real broker does.
"""

from collections.abc import Callable, Iterable

from consumer.config import Settings
from tests.support.fake_admin import FakeAdmin, FakeMember
from tests.support.fake_clients import FakeReader, FakeWriter
from tests.support.fake_cluster import FakeCluster


class FakeKafka:
    """The port ``consumer.kafka.port.Kafka``, with a ``FakeCluster`` behind it.

    `writers` and `members` are the clients in the order of their creation. A test assigns shards
    through ``members``. A subclass may return other clients, to inject a fault.
    """

    def __init__(self, cluster: FakeCluster | None = None) -> None:
        """Use this cluster, or a new one."""
        self.cluster = cluster or FakeCluster()
        self.writers: list[FakeWriter] = []
        self.members: list[FakeMember] = []

    def reader(
        self,
        client_id: str,
        *,
        topics: Iterable[str],  # noqa: ARG002 - the port's; all topics are known here
        max_message_bytes: int,  # noqa: ARG002 - the port's; nothing is compressed here
        committed_only: bool = True,
    ) -> FakeReader:
        """Return a reader; without `committed_only` it sees all records."""
        return FakeReader(self.cluster, client_id, committed_only=committed_only)

    def writer(self, transactional_id: str, transaction_timeout_ms: int) -> FakeWriter:  # noqa: ARG002 - nothing times out here
        """Return a writer."""
        self.writers.append(FakeWriter(self.cluster, transactional_id))
        return self.writers[-1]

    def token_life(self) -> None:
        """Return None: there are no logins."""

    def admin(self, client_id: str) -> FakeAdmin:  # noqa: ARG002 - the port's
        """Return an admin client."""
        return FakeAdmin(self.cluster)

    def member(
        self,
        settings: Settings,
        on_change: Callable[[], None],
        on_rebalance: Callable[[float], None],
    ) -> FakeMember:
        """Return a member of the group of these settings."""
        self.members.append(FakeMember(self.cluster, settings.group_id, on_change, on_rebalance))
        return self.members[-1]
