"""The guards of a start: the meta entry, and forwards that a shard has never read."""

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from consumer.errors import StateCorrupted
from consumer.kafka.types import TopicPartition
from consumer.shard.changelog import Meta
from consumer.shard.context import AcceptedLosses
from consumer.shard.state_guards import verify_meta
from consumer.shard.status import TaskState
from consumer.shard.task import ShardTask
from tests.support.fake_deployment import FakeDeployment
from tests.support.fake_log import NewRecord

META = Meta(1, "group", 0, 6, "cluster", ["in"], "out")


def test_the_same_is_accepted() -> None:
    """Nothing has changed."""
    verify_meta(META, META)


def test_changed_inputs_are_accepted() -> None:
    """Inputs may come and go."""
    verify_meta(META, msgspec.structs.replace(META, input_topics=["in", "another"]))


@pytest.mark.parametrize(
    "change",
    [
        {"group_id": "other"},
        {"shard": 1},
        {"shards": 7},
        {"cluster_id": "other"},
        {"output_topic": "other"},
    ],
)
def test_a_mismatch_is_refused_with_its_mend(change: dict[str, object]) -> None:
    """Running on would publish again; the message names what differs."""
    name = next(iter(change))
    with pytest.raises(StateCorrupted, match=f"{name} was .* is now .*: "):
        verify_meta(META, msgspec.structs.replace(META, **change))


class TestLostForwards:
    """Retention deleted what other shards had forwarded to a shard."""

    async def test_at_its_first_start_the_shard_is_refused(self) -> None:
        """The message names the flag that accepts this loss, and not the one of lost state."""
        deployment = await FakeDeployment.create(shards=2)
        await lose_forwards(deployment)
        with pytest.raises(StateCorrupted, match="repartition/1 begins at offset 3") as refused:
            await deployment.task(1).run()
        assert "--accept-lost-forwards" in str(refused.value)
        assert "--accept-empty-state" not in str(refused.value)

    @pytest.mark.parametrize(
        "accepted", [AcceptedLosses(state=True), AcceptedLosses(forwards=True)]
    )
    async def test_an_accepted_loss_is_logged(self, accepted: AcceptedLosses) -> None:
        """Also a shard without state starts, because it has itself deleted forwards before."""
        deployment = await FakeDeployment.create(shards=2)
        await lose_forwards(deployment)
        with capture_logs() as lines:
            await run_until_running(deployment.task(1, accepted=accepted))
        (lost,) = (line for line in lines if line["event"] == "unread_input_lost")
        assert (lost["shard"], lost["next_offset"], lost["records"]) == (1, 0, 3)
        assert "forwarded" in lost["hint"]
        await run_until_running(deployment.task(1))  # the loss is accepted once

    async def test_at_a_later_start_too(self) -> None:
        """A shard that has read forwards is refused for those that it has not read."""
        deployment = await FakeDeployment.create(shards=2)
        await run_until_running(deployment.task(1))
        await lose_forwards(deployment)
        with pytest.raises(StateCorrupted, match=r"was expired.*--accept-lost-forwards"):
            await deployment.task(1).run()
        with capture_logs() as lines:
            await run_until_running(deployment.task(1, accepted=AcceptedLosses(forwards=True)))
        (lost,) = (line for line in lines if line["event"] == "unread_input_lost")
        assert lost["records"] == 3
        await run_until_running(deployment.task(1))

    async def test_it_does_not_accept_the_loss_of_state(self) -> None:
        """A changelog that lost its beginning is still refused."""
        deployment = await FakeDeployment.create(shards=2)
        await run_until_running(deployment.task(1))
        await lose_forwards(deployment)
        changelog = TopicPartition(deployment.settings.changelog_topic, 1)
        await deployment.kafka.admin("retention").delete_records({changelog: 1})
        with pytest.raises(StateCorrupted, match=r"records were deleted.*--accept-empty-state"):
            await deployment.task(1, accepted=AcceptedLosses(forwards=True)).run()


async def lose_forwards(deployment: FakeDeployment) -> None:
    """Forward three records to shard 1, and delete them."""
    forwards = TopicPartition(deployment.settings.repartition_topic, 1)
    for _ in range(3):
        deployment.cluster.produce(forwards.topic, NewRecord(b"key", b"value"), forwards.partition)
    await deployment.kafka.admin("retention").delete_records({forwards: 3})


async def run_until_running(task: ShardTask) -> None:
    """Run a task until its start is over, and stop it."""
    running = asyncio.create_task(task.run())
    async with asyncio.timeout(10):
        while task.state is not TaskState.RUNNING:
            assert not running.done(), running.exception()
            await asyncio.sleep(0)
        task.stop()
        await running
