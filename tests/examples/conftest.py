"""Fixtures of the example subscribers: one topic for all, and the environments of the programs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.examples.history import make_history
from tests.support.topics import Names

if TYPE_CHECKING:
    from tests.examples.history import History
    from tests.support.cluster import Cluster


@pytest.fixture(scope="session")
def history(cluster: Cluster) -> History:
    """A topic with events of aborted transactions, which every example reads."""
    return make_history(cluster, Names(f"history-{uuid.uuid4().hex[:8]}"))
