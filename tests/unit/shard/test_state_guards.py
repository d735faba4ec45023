"""The meta entry shows whether a changelog belongs to this deployment."""

import msgspec
import pytest

from consumer.errors import StateCorrupted
from consumer.shard.changelog import Meta
from consumer.shard.state_guards import verify_meta

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
