"""Describes and creates topics, deletes records, reads a group's offsets, and asks leaders.

The leaders of partitions tell which transactions are open, and where leader epochs end.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.commit import OffsetFetchRequest

from consumer.errors import (
    CheckpointReadyError,
    ClusterError,
    CreationDenied,
    LoginRefused,
    SettingsRefused,
    TaskFailed,
    TimedOut,
    TransientError,
    Unreachable,
)
from consumer.kafka.broker_settings import REPLICATION_SETTINGS, SETTINGS, BrokerSettings
from consumer.kafka.client import private_api
from consumer.kafka.client.config_dry_run import ConfigDryRunRequest, outcome_of
from consumer.kafka.client.connection import Connection, bounded, translate
from consumer.kafka.client.describe_producers import DescribeProducersRequest
from consumer.kafka.client.log_dirs import DescribeLogDirsRequest, sizes_of
from consumer.kafka.client.metadata import EpochEndsRequest, TopicMetadata, TopicsRequest, topics_of
from consumer.kafka.client.private_client import BrokerUnreachable
from consumer.kafka.client.token_provider import NoToken
from consumer.kafka.cluster_faults import CurrentFault, Fault
from consumer.kafka.types import (
    OpenTransaction,
    OpenTransactions,
    TopicDescription,
    TopicPartition,
)

T = TypeVar("T")

CALL_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 2.0
# A query may reach a broker that has just stopped, or one that hangs. So it has several tries.
QUERY_TRIES: Final = 8
QUERY_PAUSE_SECONDS: Final = 0.05
TRY_SECONDS: Final = 3.0
# Only the leader of a partition can answer. If it hangs, a new task asks the next leader.
LEADER_SECONDS: Final = 6.0
# A query about open transactions is repeated if a leader has just moved.
MOVED_TRIES: Final = 6
MOVED_PAUSE_SECONDS: Final = 0.1
NO_LEADER: Final = -1
ANOTHER_TRY_HELPS: Final = (
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.RequestTimedOutError,
    TimedOut,
)
# The brokers do not allow a setting: a policy, an invalid value, or a service that fixes it.
SETTING_REFUSALS: Final = (
    kafka_errors.PolicyViolationError,
    kafka_errors.InvalidConfigurationError,
)
# The brokers do not have a request, or do not allow it for a topic. A retry would not help.
CALL_REFUSALS: Final = (
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.PolicyViolationError,
    kafka_errors.InvalidRequestError,
    kafka_errors.ClusterAuthorizationFailedError,
)


class KafkaAdmin:
    """Implements ``ClusterAdmin`` of the port."""

    def __init__(self, connection: Connection, client_id: str) -> None:
        self._connection = connection
        self._client = AIOKafkaAdminClient(**connection.options(client_id))

    async def start(self) -> None:
        """Connect.

        Raises:
            ClusterError: no broker answers (Unreachable), or one refuses the connection.
        """
        try:
            await bounded(self._client.start(), CALL_SECONDS, "the broker")
        except Exception as error:
            cause = error.__cause__ or error
            ours = translate(cause, "connect")
            if isinstance(ours, ClusterError):
                raise ours from error
            if isinstance(cause, NoToken):
                raise Unreachable(str(ours)) from error
            raise Unreachable(
                f"no broker can be used at {self._connection.bootstrap_servers} ({cause}); check "
                "CHECKPOINT_READY_BOOTSTRAP_SERVERS, the network and SECURITY_PROTOCOL"
            ) from error

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(TaskFailed):
            await bounded(self._client.close(), CLOSE_SECONDS, "closing")

    async def cluster(self) -> tuple[str, int]:
        """Return the cluster's id and its number of brokers."""
        # Ask for no topic: the list of all topics of a large cluster would be a large response.
        metadata = await self._query(lambda: self._metadata([]), "describe the cluster")
        return str(metadata.cluster_id), len(metadata.brokers)

    async def unknown_somewhere(self, topics: Iterable[str]) -> set[str]:
        """Return the topics that at least one broker does not know yet.

        Brokers that cannot be reached are not asked: the service can run without some of them.
        """
        wanted = set(topics)
        metadata = await self._query(lambda: self._metadata([]), "describe the cluster")
        unknown: set[str] = set()
        for node_id, *_ in metadata.brokers:
            try:
                unknown |= wanted - (await self._topics(wanted, node_id)).keys()
            except TaskFailed as error:
                if not isinstance(error.__cause__, BrokerUnreachable):
                    raise
        return unknown

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        """Describe each topic that exists, with its settings.

        Raises:
            ClusterError: the ACLs do not permit Describe or DescribeConfigs on a topic.
        """
        found = await self._topics(topics)
        configs = await self._configs(found) if found else {}
        return {
            topic.name: TopicDescription(
                name=topic.name,
                partitions=len(topic.partitions),
                replication=min(len(partition.replicas) for partition in topic.partitions),
                configs=configs[topic.name],
                topic_id=topic.topic_id,
                leader_epochs={
                    p.partition: p.leader_epoch
                    for p in topic.partitions
                    if p.leader_epoch is not None
                },
                leaderless=tuple(sorted(p.partition for p in topic.partitions if p.leader < 0)),
            )
            for topic in found.values()
        }

    async def broker_settings(self) -> BrokerSettings:
        """Return the settings of a broker, and which topics of the coordinators do not exist.

        A later query that fails makes the result incomplete (`unanswered`).

        Raises:
            TaskFailed, TransientError, LoginRefused: the brokers do not answer.
        """
        metadata = await self._query(lambda: self._metadata([]), "describe the cluster")
        if not metadata.brokers:
            raise TransientError("describe the cluster: the broker knows no broker yet")
        missing, unknown = set(), set()
        unanswered = ""
        for name in REPLICATION_SETTINGS:
            try:
                if not await self._topics([name]):
                    missing.add(name)
            except CheckpointReadyError as error:
                if _is_lasting(error):  # a missing ACL, which is no problem
                    unknown.add(name)
                else:
                    unanswered = str(error)
        configs: dict[str, str] = {}
        try:
            configs = await self._broker_configs(str(min(each[0] for each in metadata.brokers)))
        except CheckpointReadyError as error:
            if not _is_lasting(error):
                unanswered = str(error)
        return BrokerSettings(
            len(metadata.brokers), configs, frozenset(missing), frozenset(unknown), unanswered
        )

    async def _broker_configs(self, node_id: str) -> dict[str, str]:
        # The settings are a mapping of names to values; only the names count in a question.
        wanted = dict.fromkeys(SETTINGS)
        resource = ConfigResource(ConfigResourceType.BROKER, node_id, wanted)
        return (await self._described([resource], "describe broker settings")).get(node_id, {})

    def current_faults(self) -> list[CurrentFault]:
        """Return what keeps failing at the brokers of this process now."""
        return self._connection.servers.faults.current()

    async def _configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the settings of topics. A broker may know a new topic later than another one."""
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        return await self._described(resources, "describe topic settings")

    async def _described(
        self, resources: list[ConfigResource], what: str
    ) -> dict[str, dict[str, str]]:
        async def describe() -> dict[str, dict[str, str]]:
            configs = {}
            for response in await self._client.describe_configs(resources):
                for error_code, _, _, name, entries in response.resources:
                    error = kafka_errors.for_code(error_code)
                    if error is not kafka_errors.NoError:
                        raise error(name)
                    configs[str(name)] = {str(entry[0]): str(entry[1]) for entry in entries}
            return configs

        found: dict[str, dict[str, str]] = await self._query(describe, what)
        return found

    async def create(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> bool:
        """Create a topic; return whether this call created it (False: it exists already).

        Raises:
            SettingsRefused: the cluster does not allow one of the settings.
            CreationDenied: an ACL is missing.
            ClusterError: another error. The topic may exist, for example after a timeout.
        """
        new = NewTopic(name, partitions, replication, topic_configs=dict(configs))
        return await self._create(new, is_dry_run=False)

    async def creation_refusal(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> str | None:
        """Return why the brokers would refuse the settings of a new topic, or None.

        Nothing is created.

        Raises:
            ClusterError: the cluster refuses for another reason.
        """
        new = NewTopic(name, partitions, replication, topic_configs=dict(configs))
        try:
            await self._create(new, is_dry_run=True)
        except SettingsRefused as error:
            return str(error)
        return None

    async def _create(self, topic: NewTopic, *, is_dry_run: bool) -> bool:
        name = topic.name
        response = await self._change(
            lambda: self._client.create_topics([topic], validate_only=is_dry_run), f"create {name}"
        )
        for _, error_code, *message in response.topic_errors:
            error = kafka_errors.for_code(error_code)
            if error is kafka_errors.TopicAlreadyExistsError:
                return False
            if error is kafka_errors.TopicAuthorizationFailedError:
                raise CreationDenied(f"create {name}: missing ACL: grant Create on topic {name}")
            if error is not kafka_errors.NoError:
                refused = SettingsRefused if error in SETTING_REFUSALS else ClusterError
                raise refused(f"create {name}: {error.__name__} {' '.join(map(str, message))}")
        return True

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete topics; topics that do not exist are ignored. Only the probe deletes topics.

        Raises:
            ClusterError: the cluster refuses.
            TaskFailed, TransientError: the cluster does not answer.
        """
        response = await self._change(
            lambda: self._client.delete_topics(list(names)), "delete topics"
        )
        for name, error_code, *_ in response.topic_error_codes:
            error = kafka_errors.for_code(error_code)
            if error is kafka_errors.TopicAuthorizationFailedError:
                raise translate(error(name), "delete topics")
            if error not in {kafka_errors.NoError, kafka_errors.UnknownTopicOrPartitionError}:
                raise ClusterError(f"delete {name}: {error.__name__}")

    async def setting_refusal(self, topic: str, setting: str, value: str) -> str | None:
        """Return why the brokers would refuse this setting, or None. Nothing is changed.

        Raises:
            ClusterError: the ACLs do not permit AlterConfigs on the topic.
            TaskFailed, TransientError: the cluster does not answer.
        """
        what = "ask for a topic setting"

        async def ask() -> tuple[int, str]:
            request = ConfigDryRunRequest(topic, setting, value)
            return outcome_of(await private_api.send_admin_request(self._client, request))

        try:
            error_code, message = await self._query(ask, what)
        except TaskFailed as failed:
            if isinstance(failed.__cause__, kafka_errors.IncompatibleBrokerVersion):
                return "the brokers do not support changes of single settings"
            raise
        error = kafka_errors.for_code(error_code)
        if error is kafka_errors.NoError:
            return None
        if error is kafka_errors.TopicAuthorizationFailedError:
            raise translate(error(topic), what)
        if error in SETTING_REFUSALS:
            return f"{error.__name__} {message}".strip()
        raise TransientError(f"{what} {topic}: {error.__name__} {message}")

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets.

        Raises:
            TransientError: the call failed; the records stay until a later call succeeds.
            ClusterError: the brokers do not have the request, or do not allow it.
        """
        offsets = {partition: RecordsToDelete(offset) for partition, offset in before.items()}
        try:
            await bounded(self._client.delete_records(offsets), CALL_SECONDS, "DeleteRecords")
        except kafka_errors.TopicAuthorizationFailedError as error:  # it does not name the topic
            topics = {partition.topic for partition in before}
            raise translate(type(error)(topics), "trim") from error
        except CALL_REFUSALS as error:
            raise ClusterError(f"the brokers refuse DeleteRecords ({_brief(error)})") from error
        except Exception as error:
            raise TransientError(str(translate(error, "trim"))) from error

    async def group_offsets(self, group_id: str) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group. They only show whether the group ran before.

        Raises:
            TaskFailed: the coordinator does not answer (it is loading, or has moved).
        """
        response = await self._call(self._group_offsets(group_id), "read group offsets")
        # The library's own method ignores this error. The group would then seem to have no offsets.
        error = kafka_errors.for_code(response.error_code)
        if error is not kafka_errors.NoError:
            raise translate(error(group_id), "read group offsets")
        return {
            TopicPartition(topic, partition): offset
            for topic, partitions in response.topics
            for partition, offset, _, _ in partitions
            if offset >= 0
        }

    async def open_transactions(
        self, topics: Iterable[str], optional: Iterable[str] = ()
    ) -> OpenTransactions:
        """Return every transaction that is open in these topics (DescribeProducers, KIP-664).

        If the ACLs do not permit to query an `optional` topic, the result holds the reason instead.
        It also holds the partitions without a leader, and those of optional topics whose leader has
        just moved.

        Raises:
            TransientError: the leader of a partition has just moved, or the queried broker does not
                know a topic.
            TaskFailed: a leader does not answer.
            ClusterError: the ACLs do not permit Read on a topic that is not optional.
        """
        topics, optional = list(topics), list(optional)
        for tries_left in reversed(range(MOVED_TRIES)):
            try:
                return await self._open_transactions(topics, optional)
            except _MetadataDiffer:  # also for a topic that was created a moment ago
                if not tries_left:
                    raise
            await asyncio.sleep(MOVED_PAUSE_SECONDS)
        raise AssertionError  # pragma: no cover - the last try returns or raises

    async def _open_transactions(self, topics: list[str], optional: list[str]) -> OpenTransactions:
        not_queried: dict[str, str] = {}
        described = await self._topics(topics)
        all_described = described | await self._optional_topics(optional, not_queried)
        unknown = {*topics, *optional} - all_described.keys() - not_queried.keys()
        if unknown:
            names = ", ".join(sorted(unknown))
            raise _MetadataDiffer(f"describe producers: the queried broker does not know {names}")
        by_leader = _by_leader(all_described)
        leaderless = {
            TopicPartition(name, partition)
            for name, partitions in by_leader.pop(NO_LEADER, {}).items()
            for partition in partitions
        }
        found: list[OpenTransaction] = []
        silent: set[int] = set()
        unanswered: set[TopicPartition] = set()
        for leader, asked in by_leader.items():
            answer = await self._producers(leader, asked)
            if answer is None:
                silent.add(leader)
                continue
            for name, partition, refusal, producers in answer:
                if refusal is not None and name in described:
                    raise refusal
                if refusal is not None:
                    not_queried[name] = str(refusal)
                    if not _is_lasting(refusal):
                        unanswered.add(TopicPartition(name, partition))
                found += [
                    OpenTransaction(TopicPartition(name, partition), start, producer_id, epoch)
                    for producer_id, epoch, _, _, _, start, _ in producers
                    if start >= 0
                ]
        return OpenTransactions(
            tuple(sorted(found)),
            not_queried,
            frozenset(silent),
            frozenset(leaderless),
            frozenset(unanswered),
        )

    async def _optional_topics(
        self, names: Iterable[str], refused: dict[str, str]
    ) -> dict[str, TopicMetadata]:
        """Return the topics that this user may describe; add the reason for each other one."""
        found: dict[str, TopicMetadata] = {}
        for name in names:
            try:
                found |= await self._topics([name])
            except ClusterError as error:
                if not _is_lasting(error):
                    raise
                refused[name] = str(error)
        return found

    async def epoch_ends(self, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the first offset after each leader epoch, in the current logs (KIP-320).

        For the latest epoch of a log, this offset is the log's end. The result omits a partition
        whose leader does not know the epoch.

        Raises:
            TransientError: a partition has no leader, or the leader has just moved.
            TaskFailed: a leader does not answer.
            ClusterError: the ACLs do not permit Describe on a topic.
        """
        what = "ask for leader epochs"
        leaders = await self._leaders({partition.topic for partition in epochs})
        for partition in epochs:
            if partition not in leaders:
                name = f"{partition.topic}/{partition.partition}"
                raise TransientError(f"{what}: {name} has no leader, or does not exist")
        ends = {}
        for leader, asked in _grouped(epochs, leaders).items():
            answer = await self._query_leader(leader, EpochEndsRequest(asked), what)
            for name, partitions in answer.topics:
                for error_code, partition, _, end_offset in partitions:
                    error = kafka_errors.for_code(error_code)
                    if error is kafka_errors.TopicAuthorizationFailedError:
                        raise translate(error(name), what)
                    if error is not kafka_errors.NoError:
                        raise TransientError(f"{what}: {name}/{partition}: {error.__name__}")
                    if end_offset >= 0:
                        ends[TopicPartition(name, partition)] = end_offset
        return ends

    async def log_sizes(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int] | None:
        """Return the size in bytes of the leader's log of each partition.

        A partition is absent if its leader does not answer. Return None if a broker does not have
        the request, or does not allow it: it needs the ACL Describe on the cluster.

        Raises:
            TaskFailed, TransientError: the brokers do not answer.
        """
        leaders = await self._leaders({partition.topic for partition in partitions})
        wanted = dict.fromkeys(partition for partition in partitions if partition in leaders)
        sizes: dict[TopicPartition, int] = {}
        for leader, asked in _grouped(wanted, leaders).items():
            try:
                answer = await self._query_leader(
                    leader, DescribeLogDirsRequest(asked), "ask for log sizes"
                )
            except TaskFailed as error:
                if isinstance(error.__cause__, kafka_errors.IncompatibleBrokerVersion):
                    return None
                continue
            if not answer.results:
                return None
            sizes |= {TopicPartition(name, part): size for name, part, size in sizes_of(answer)}
        return sizes

    async def _leaders(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        return {
            TopicPartition(name, partition.partition): partition.leader
            for name, topic in (await self._topics(topics)).items()
            for partition in topic.partitions
            if partition.leader >= 0
        }

    async def _query_leader(self, leader: int, request: Any, what: str) -> Any:  # noqa: ANN401 - the library is untyped
        async def query() -> Any:  # noqa: ANN401 - a response of the untyped library
            client = private_api.admin_client(self._client)
            if client.cluster.broker_metadata(leader) is None:  # a new broker
                await client.force_metadata_update()
            return await client.send(leader, request)

        return await self._query(query, what, LEADER_SECONDS)

    async def _producers(
        self, leader: int, asked: dict[str, list[int]]
    ) -> list[tuple[str, int, CheckpointReadyError | None, list[Any]]] | None:
        """Query one leader; return topic, partition, error and producers for each partition.

        Return None if the broker does not know the request.
        """
        try:
            request = DescribeProducersRequest(asked)
            answer = await self._query_leader(leader, request, "describe producers")
        except TaskFailed as error:
            if isinstance(error.__cause__, kafka_errors.IncompatibleBrokerVersion):
                return None
            raise
        return [
            (name, partition, _describe_refusal(name, partition, error_code), producers)
            for name, partitions, _ in answer.topics
            for partition, error_code, _, producers, _ in partitions
        ]

    async def _group_offsets(self, group_id: str) -> Any:  # noqa: ANN401 - a response of the untyped library
        coordinator = await self._client.find_coordinator(group_id)
        request = OffsetFetchRequest(group_id, None)
        return await private_api.send_admin_request(self._client, request, coordinator)

    async def _topics(
        self, topics: Iterable[str], node_id: int | None = None
    ) -> dict[str, TopicMetadata]:
        names = list(topics)
        metadata = await self._query(lambda: self._metadata(names, node_id), "describe topics")
        found = {}
        for topic in topics_of(metadata):
            error = kafka_errors.for_code(topic.error_code)
            if error is kafka_errors.TopicAuthorizationFailedError:
                raise translate(error(topic.name), "describe topics")
            if error is kafka_errors.NoError:
                found[topic.name] = topic
            elif error is not kafka_errors.UnknownTopicOrPartitionError:
                raise TransientError(f"describe topic {topic.name}: {error.__name__}")
        return found

    async def _metadata(self, topics: list[str], node_id: int | None = None) -> Any:  # noqa: ANN401 - a response of the untyped library
        # The library's own method would allow the broker to create a topic that does not exist.
        return await private_api.send_admin_request(self._client, TopicsRequest(topics), node_id)

    async def _query(
        self,
        call: Callable[[], Awaitable[Any]],
        what: str,
        seconds: float = CALL_SECONDS,
    ) -> Any:  # noqa: ANN401 - the same
        """Make a read-only call; repeat it if the queried broker is down or does not answer.

        A broker that does not answer is avoided by the next try, see ``BrokerHealth``.
        """
        ends_at = time.monotonic() + seconds
        for tries_left in reversed(range(QUERY_TRIES)):
            left = ends_at - time.monotonic()
            try:
                return await bounded(call(), min(TRY_SECONDS, left), what)
            except Exception as error:  # noqa: BLE001 - translated, and raised or repeated
                is_repeated = isinstance(error, ANOTHER_TRY_HELPS) and tries_left > 0
                if not is_repeated or ends_at - time.monotonic() <= QUERY_PAUSE_SECONDS:
                    # The address says more to an operator than the time limit.
                    reason = self._unreachable() if isinstance(error, TimedOut) else None
                    raise translate(reason or error, what) from (reason or error)
            await asyncio.sleep(QUERY_PAUSE_SECONDS)
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def _unreachable(self) -> BrokerUnreachable | None:
        """Return the error of a broker that cannot be reached now, if there is one."""
        faults = (fault for fault in self.current_faults() if fault.kind is Fault.UNREACHABLE)
        return next((BrokerUnreachable(fault.text) for fault in faults), None)

    async def _change(self, change: Callable[[], Awaitable[Any]], what: str) -> Any:  # noqa: ANN401 - the library is untyped
        """Send a request for the controller."""

        async def call() -> Any:  # noqa: ANN401 - the same
            await private_api.reach_controller(self._client)
            return await change()

        return await self._call(call(), what)

    async def _call(self, call: Any, what: str) -> Any:  # noqa: ANN401 - the library is untyped
        try:
            return await bounded(call, CALL_SECONDS, what)
        except Exception as error:
            raise translate(error, what) from error


def _is_lasting(error: CheckpointReadyError) -> bool:
    """Return whether the brokers refuse a query for good; otherwise a repetition may succeed."""
    if isinstance(error, LoginRefused):
        return False
    return isinstance(error, ClusterError) or isinstance(error.__cause__, CALL_REFUSALS)


def _brief(error: Exception) -> str:
    """Return the name of a broker's error, and its text if it has one."""
    text = ": ".join(map(str, error.args))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _by_leader(topics: Mapping[str, TopicMetadata]) -> dict[int, dict[str, list[int]]]:
    """Return the partitions by leader (or NO_LEADER) and topic, from a metadata response."""
    by_leader: dict[int, dict[str, list[int]]] = {}
    for name, topic in topics.items():
        for one in topic.partitions:
            leader = max(one.leader, NO_LEADER)
            by_leader.setdefault(leader, {}).setdefault(name, []).append(one.partition)
    return by_leader


def _grouped(
    values: Mapping[TopicPartition, T], leaders: Mapping[TopicPartition, int]
) -> dict[int, dict[str, dict[int, T]]]:
    """Return the values by leader, topic and partition, as requests need them."""
    grouped: dict[int, dict[str, dict[int, T]]] = {}
    for partition, value in values.items():
        by_topic = grouped.setdefault(leaders[partition], {})
        by_topic.setdefault(partition.topic, {})[partition.partition] = value
    return grouped


class _MetadataDiffer(TransientError):
    """A broker does not know yet what another one said about a topic."""


def _describe_refusal(name: str, partition: int, error_code: int) -> CheckpointReadyError | None:
    """Return the error of one partition in a DescribeProducers response, if any."""
    error = kafka_errors.for_code(error_code)
    if error is kafka_errors.NoError:
        return None
    if error is kafka_errors.TopicAuthorizationFailedError:
        return translate(error(name), "describe producers")
    return _MetadataDiffer(f"describe producers: {name}/{partition}: {error.__name__}")
