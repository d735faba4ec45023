"""Lists the consumer groups that read a topic, of both group protocols, on all brokers."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetFetchRequest

from consumer.errors import TaskFailed, TransientError
from consumer.kafka.client import private_api
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.group_requests import (
    CLASSIC,
    CONSUMER,
    DESCRIBE_OPERATION,
    ClassicGroupsRequest,
    ClusterRightsRequest,
    GroupsRequest,
    ListedGroup,
    NewGroupsRequest,
    classic_partitions,
    listed_groups,
)
from consumer.kafka.types import ConsumerGroup, GroupListing, GroupMember

LISTING_TRIES: Final = 10
LISTING_PAUSE_SECONDS: Final = 0.3
GROUPS_PER_REQUEST: Final = 100
SHARE: Final = "share"
DESCRIBE: Final = "describe groups"
REFUSED: Final = frozenset({kafka_errors.GroupAuthorizationFailedError.errno})
# A group can be deleted, or change its protocol, after it was listed.
GONE: Final = frozenset({kafka_errors.GroupIdNotFound.errno})


class _Description(NamedTuple):
    """What a coordinator says about one group, or the code of its error."""

    error_code: int
    group_id: str
    state: str
    protocol: str
    members: tuple[GroupMember, ...]


class GroupsAdmin(KafkaAdmin):
    """An admin client that also lists consumer groups."""

    async def groups_of(self, topic: str, partitions: int) -> GroupListing:
        """Return every group with committed offsets of the topic, or members assigned to it.

        Raises:
            TransientError, TaskFailed: a coordinator is loading, has moved, or does not answer.
            ClusterError: the ACLs do not permit Describe on the topic.
        """
        for _ in range(LISTING_TRIES - 1):
            try:
                return await self._groups_of(topic, partitions)
            except TransientError:
                await asyncio.sleep(LISTING_PAUSE_SECONDS)
        return await self._groups_of(topic, partitions)

    async def _groups_of(self, topic: str, partitions: int) -> GroupListing:
        groups: list[ConsumerGroup] = []
        refused: set[str] = set()
        other_types: dict[str, str] = {}
        metadata = await self._query(lambda: self._metadata([]), "describe the cluster")
        for node_id, *_ in metadata.brokers:
            answer = await self._query_leader(node_id, GroupsRequest(), "list groups")
            _refuse_error(answer.error_code, "list groups")
            listed = list(listed_groups(answer))
            other_types |= {it.group_id: it.group_type for it in listed if it.group_type == SHARE}
            described = await self._describe_groups(node_id, listed, topic)
            refused |= {name for name, it in described.items() if it.error_code in REFUSED}
            for one in listed:
                name = one.group_id
                description = described.get(name, _Description(0, name, one.state, "", ()))
                if description.error_code or one.group_type == SHARE:
                    continue
                offsets = await self._offsets(node_id, name, topic, partitions)
                if offsets is None:
                    refused.add(name)
                elif offsets or any(member.partitions for member in description.members):
                    groups.append(_group(one, description, offsets))
        groups.sort(key=lambda group: group.group_id)
        lists_all = await self._lists_all()
        return GroupListing(tuple(groups), tuple(sorted(refused)), other_types, lists_all)

    async def _describe_groups(
        self, node_id: int, listed: Iterable[ListedGroup], topic: str
    ) -> dict[str, _Description]:
        """Describe the groups of one coordinator, except those of other types."""
        by_type: dict[str, list[str]] = {CLASSIC: [], CONSUMER: []}
        for it in listed:
            by_type.setdefault(it.group_type, []).append(it.group_id)
        found: list[_Description] = []
        for names in _chunks(by_type[CLASSIC]):
            answer = await self._query_leader(node_id, ClassicGroupsRequest(names), DESCRIBE)
            found += [_classic(group, topic) for group in answer.groups]
        for names in _chunks(by_type[CONSUMER]):
            answer = await self._query_leader(node_id, NewGroupsRequest(names), DESCRIBE)
            found += [_new(group, topic) for group in answer.groups]
        for one in found:
            if one.error_code not in REFUSED | GONE:
                _refuse_error(one.error_code, f"{DESCRIBE}: {one.group_id}")
        return {one.group_id: one for one in found}

    async def _offsets(
        self, node_id: int, group_id: str, topic: str, partitions: int
    ) -> dict[int, int] | None:
        """Return the committed offsets by partition, or None if the user may not describe it."""
        what = "read group offsets"
        request = OffsetFetchRequest(group_id, [(topic, list(range(partitions)))])
        answer = await self._query_leader(node_id, request, what)
        if answer.error_code in REFUSED:
            return None
        _refuse_error(answer.error_code, f"{what} of {group_id}")
        offsets = {}
        for _, found in answer.topics:
            for partition, offset, _, error_code in found:
                _refuse_error(error_code, f"{what} of {group_id}")
                if offset >= 0:
                    offsets[partition] = offset
        return offsets

    async def _lists_all(self) -> bool:
        """Return whether the user may see every group. Brokers before Kafka 2.8 do not say it."""
        try:
            answer = await self._query(
                lambda: private_api.send_admin_request(self._client, ClusterRightsRequest()),
                "ask for the rights on the cluster",
            )
        except TaskFailed as error:
            if isinstance(error.__cause__, kafka_errors.IncompatibleBrokerVersion):
                return True
            raise
        return bool(answer.authorized_operations & DESCRIBE_OPERATION)


def _classic(group: Any, topic: str) -> _Description:  # noqa: ANN401 - of the untyped library
    error_code, group_id, state, _, protocol, members = group
    found = [
        GroupMember(client_id, _host(host), classic_partitions(assignment, topic))
        for _, client_id, host, _, assignment in members
    ]
    return _Description(error_code, group_id, state, protocol, tuple(sorted(found)))


def _new(group: Any, topic: str) -> _Description:  # noqa: ANN401 - the same
    error_code, _, group_id, state, _, _, assignor, members, *_ = group
    found = []
    for _, _, _, _, client_id, host, _, _, assignment, *_ in members:
        assigned = [len(partitions) for _, name, partitions, _ in assignment[0] if name == topic]
        found.append(GroupMember(client_id, _host(host), sum(assigned)))
    return _Description(error_code, group_id, state, assignor, tuple(sorted(found)))


def _group(
    listed: ListedGroup, description: _Description, offsets: dict[int, int]
) -> ConsumerGroup:
    return ConsumerGroup(
        listed.group_id,
        listed.group_type,
        description.state,
        description.protocol,
        description.members,
        offsets,
    )


def _host(text: str) -> str:
    """Return a client's address, which brokers write with a slash before it."""
    return text.removeprefix("/")


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), GROUPS_PER_REQUEST):
        yield names[start : start + GROUPS_PER_REQUEST]


def _refuse_error(error_code: int, what: str) -> None:
    """Raise for any error of a coordinator; most of them end within seconds.

    Raises:
        TransientError: the coordinator is loading, or has moved.
    """
    error = kafka_errors.for_code(error_code)
    if error is not kafka_errors.NoError:
        raise TransientError(f"{what}: {error.__name__}")
