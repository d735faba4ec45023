"""With COMPRESSION_TYPE the service keeps its promise, and brokers accept what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SHARDS = 3


@pytest.mark.parametrize("compression_type", ["lz4", "zstd"])
def test_compressed_topics_are_written_and_restored(
    cluster: Cluster, names: Names, compression_type: str
) -> None:
    """A start restores from the compressed changelog, also with another type than before."""
    first, second = numbered_ids(300, "first"), numbered_ids(300, "second")
    with Deployment(cluster, names) as deployment:
        service = deployment.start(COMPRESSION_TYPE=compression_type)
        cluster.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(cluster, names, first)
        service.kill()
        cluster.produce(deployment.input_topic, scattered([*first, *second]))
        deployment.start(COMPRESSION_TYPE="none")
        assert_exactly_once(cluster, names, [*first, *second])
