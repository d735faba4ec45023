"""The subscriber of kcat and jq on a topic with aborted events."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.examples import scenarios
from tests.examples.harness import Example
from tests.examples.history import place_of
from tests.examples.programs import SUBSCRIBERS

if TYPE_CHECKING:
    from tests.examples.history import History
    from tests.support.topics import Names

KCAT = Example("kcat", (str(SUBSCRIBERS / "kcat" / "subscribe.sh"),))


@pytest.fixture(autouse=True)
def programs() -> None:
    """Skip the tests, which fails them in CI, if a program is missing."""
    if shutil.which("kcat") is None or shutil.which("jq") is None:
        pytest.skip("needs kcat and jq: dev/ensure-kcat")


def test_each_id_is_printed_once(history: History) -> None:
    """With read_committed, the aborted events are not delivered."""
    scenarios.assert_prints_each_id_once(KCAT, history)


def test_read_uncommitted_delivers_aborted_events(history: History) -> None:
    """With read_uncommitted, the ids of aborted transactions occur again."""
    scenarios.assert_uncommitted_sees_more(KCAT, history)


def test_default_of_kcat(history: History) -> None:
    """Without the option, kcat delivers committed events only, as librdkafka does."""
    scenarios.assert_client_reads_committed_by_default(KCAT, history)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_and_restart(history: History, number: signal.Signals) -> None:
    """The signal ends the program, and a second run prints all events again."""
    for _ in range(2):
        with KCAT.start(history.bootstrap_servers, history.topic, group="unused") as running:
            running.wait_for_ids(history.sources)
            assert running.stop_by(number) == 0
            found = Counter((line["partition"], line["offset"]) for line in running.lines)
        assert found == Counter(map(place_of, history.committed))


def test_start_at_the_end(history: History) -> None:
    """START is any position of kcat: the last ten offsets of each partition, for example."""
    ends = history.cluster.end_offsets(history.topic)
    newest = {
        record for record in map(place_of, history.committed) if record[1] >= ends[record[0]] - 10
    }
    with KCAT.start(
        history.bootstrap_servers, history.topic, group="unused", START="-10"
    ) as running:
        lines = running.wait_for_lines(len(newest))
    assert {(line["partition"], line["offset"]) for line in lines} == newest


def test_foreign_records_are_skipped(history: History, names: Names) -> None:
    """Records that are no ready event do not end the program; unknown members are allowed."""
    scenarios.assert_ignores_foreign_records(KCAT, history, names, commits=False)


def test_no_broker() -> None:
    """Without a broker the program ends with one line that names the address."""
    scenarios.assert_fails_without_broker(KCAT)


def test_missing_topic(history: History, names: Names) -> None:
    """Without the topic the program ends with one line that names it, and does not create it."""
    scenarios.assert_fails_without_the_topic(KCAT, history, names)
