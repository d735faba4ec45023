"""The clients of one cluster, made with aiokafka: the implementation of the port."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from consumer.config import Settings
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.connection import Connection
from consumer.kafka.client.consumer_groups import GroupsAdmin
from consumer.kafka.client.group_member import KafkaMember
from consumer.kafka.client.producer import KafkaProducer
from consumer.kafka.client.reader import KafkaReader
from consumer.kafka.client.writer import KafkaWriter
from consumer.kafka.tokens import TokenLife

if TYPE_CHECKING:
    from consumer.kafka.port import Kafka


class AioKafka:
    """Implements the port ``consumer.kafka.port.Kafka``."""

    def __init__(self, connection: Connection, compression_type: str) -> None:
        self._connection = connection
        self._compression_type = compression_type

    @classmethod
    def of(cls, settings: Settings) -> "AioKafka":
        """Return the implementation of the port for the cluster that the settings name.

        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        return cls(Connection.of(settings), settings.compression_type)

    def reader(
        self,
        client_id: str,
        *,
        topics: Iterable[str],
        max_message_bytes: int,
        committed_only: bool = True,
    ) -> KafkaReader:
        """Return a reader for partitions of these topics, which the caller assigns later.

        Without `committed_only` the reader also delivers uncommitted and aborted records.
        """
        return KafkaReader(
            self._connection,
            client_id,
            topics=topics,
            max_message_bytes=max_message_bytes,
            committed_only=committed_only,
        )

    def writer(self, transactional_id: str, transaction_timeout_ms: int) -> KafkaWriter:
        """Return a writer."""
        return KafkaWriter(
            self._connection, transactional_id, transaction_timeout_ms, self._compression_type
        )

    def producer(self, client_id: str, topic: str, max_message_bytes: int) -> KafkaProducer:
        """Return an idempotent producer; `max_message_bytes` is the largest batch of the topic."""
        return KafkaProducer(
            self._connection, client_id, topic, max_message_bytes, self._compression_type
        )

    def admin(self, client_id: str) -> KafkaAdmin:
        """Return an admin client."""
        return KafkaAdmin(self._connection, client_id)

    def groups_admin(self, client_id: str) -> GroupsAdmin:
        """Return an admin client that also lists consumer groups; only commands need it."""
        return GroupsAdmin(self._connection, client_id)

    def member(
        self,
        settings: Settings,
        on_change: Callable[[], None],
        on_rebalance: Callable[[float], None],
    ) -> KafkaMember:
        """Return a member of the group that the settings name."""
        return KafkaMember(self._connection, settings, on_change, on_rebalance)

    def token_life(self) -> TokenLife | None:
        """Return how long the token of the logins is valid."""
        return self._connection.token_life()


if TYPE_CHECKING:

    def _implements_the_port(kafka: AioKafka) -> Kafka:
        """Let mypy check every class here against the protocols of the port."""
        return kafka
