"""The guards of a start: the meta entry, and forwards that a shard has never read."""

import msgspec
import pytest

from consumer.errors import StateCorrupted
from consumer.kafka.types import TopicPartition
from consumer.shard.changelog import Meta
from consumer.shard.state_guards import verify_meta
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


async def test_a_first_start_after_the_loss_of_forwards_is_refused() -> None:
    """Retention deleted what other shards had forwarded; --accept-empty-state goes on without."""
    deployment = await FakeDeployment.create(shards=2)
    forwards = TopicPartition(deployment.settings.repartition_topic, 1)
    deployment.cluster.produce(forwards.topic, NewRecord(b"key", b"value"), forwards.partition)
    await deployment.kafka.admin("retention").delete_records({forwards: 1})
    with pytest.raises(StateCorrupted, match="repartition/1 begins at offset 1"):
        await deployment.task(1).run()
