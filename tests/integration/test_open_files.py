"""The limit of open files of a real process, and the sockets that its shards hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.worker.open_files import needed_open_files
from tests.integration.limited_service import limited
from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SHARDS = 24


def test_the_soft_limit_is_raised(cluster: Cluster, names: Names) -> None:
    """24 shards work under a soft limit that they exceed, and hold no more than was reckoned."""
    ids = numbered_ids(60)
    soft = 64
    with Deployment(cluster, names, SHARDS=SHARDS) as deployment:
        service = deployment.start(command=limited(soft, 4_096))
        deployment.wait_until_running(SHARDS, service, deadline_seconds=60)
        cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(cluster, names, ids)
        line = service.wait_for_log("open_files")
        assert (line["level"], line["limit"], line["shards"]) == ("info", 4_096, SHARDS)
        assert line["needed"] == needed_open_files(SHARDS, line["brokers"])
        assert soft < service.open_files <= line["needed"]
        assert service.logged("task_failed") == []


def test_a_hard_limit_that_is_too_low_is_a_warning(cluster: Cluster, names: Names) -> None:
    """It runs as long as it can, and the line says what to set."""
    with Deployment(cluster, names) as deployment:
        service = deployment.start(command=limited(64, 100))
        line = service.wait_for_log("open_files_limit_too_low")
        assert (line["level"], line["limit"]) == ("warning", 100)
        assert f"to {line['needed']} or more" in line["hint"]
        deployment.wait_until_running(3, service)
