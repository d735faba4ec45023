"""The subscribers in Python on a topic with aborted events, with aiokafka and confluent-kafka."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.examples import scenarios
from tests.examples.harness import Example
from tests.examples.programs import FOLDER, example_python, python_example

if TYPE_CHECKING:
    from tests.examples.history import History
    from tests.support.topics import Names

pytestmark = pytest.mark.timeout(300)  # the first run installs the packages of the examples

AIOKAFKA, CONFLUENT = "subscribe_aiokafka", "subscribe_confluent"
SIGNAL_SECONDS = 60
# The main thread holds the lock of the event while a signal arrives, as it may in `Event.wait`.
SIGNAL_WHILE_LOCKED = """
import os, signal, threading
from subscribe_confluent import set_at_signal

class Stop:
    lock, done = threading.Lock(), threading.Event()
    def set(self):
        with self.lock:
            self.done.set()

stop = Stop()
set_at_signal(stop)
with stop.lock:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
print(stop.done.wait(10))
"""


@pytest.fixture(params=[AIOKAFKA, CONFLUENT])
def example(request: pytest.FixtureRequest) -> Example:
    """Each of the two programs."""
    return python_example(request.param)


def test_each_id_is_printed_once(example: Example, history: History) -> None:
    """With read_committed, the aborted events are not delivered."""
    scenarios.assert_prints_each_id_once(example, history)


def test_read_uncommitted_delivers_aborted_events(example: Example, history: History) -> None:
    """With read_uncommitted, the ids of aborted transactions occur again."""
    scenarios.assert_uncommitted_sees_more(example, history)


def test_default_of_aiokafka(history: History) -> None:
    """Without the option, aiokafka delivers aborted events."""
    scenarios.assert_client_reads_uncommitted_by_default(python_example(AIOKAFKA), history)


def test_default_of_librdkafka(history: History) -> None:
    """Without the option, confluent-kafka delivers committed events only."""
    scenarios.assert_client_reads_committed_by_default(python_example(CONFLUENT), history)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_and_restart(
    example: Example, history: History, names: Names, number: signal.Signals
) -> None:
    """The signal ends the program between two events; after a restart it continues there."""
    scenarios.assert_stops_cleanly(example, history, names, number)


def test_a_signal_at_any_moment_sets_the_event() -> None:
    """A handler that sets the event itself would wait for ever for the thread it interrupts."""
    done = subprocess.run(
        [str(example_python()), "-c", SIGNAL_WHILE_LOCKED],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
        timeout=SIGNAL_SECONDS,
    )
    assert done.stdout == "True\n"


def test_rebalance(example: Example, history: History, names: Names) -> None:
    """While members join and leave, no event is missing."""
    scenarios.assert_survives_a_rebalance(example, history, names)


def test_foreign_records_are_skipped(example: Example, history: History, names: Names) -> None:
    """Records that are no ready event do not end the program; unknown members are allowed."""
    scenarios.assert_ignores_foreign_records(example, history, names)


def test_no_broker(example: Example) -> None:
    """Without a broker the program ends with one line that names the address."""
    scenarios.assert_fails_without_broker(example)


def test_missing_topic(example: Example, history: History, names: Names) -> None:
    """Without the topic the program ends with one line that names it, and does not create it."""
    scenarios.assert_fails_without_the_topic(example, history, names)


def test_unknown_isolation_level(example: Example) -> None:
    """A wrong isolation level is refused, instead of being replaced by a default."""
    with example.start("127.0.0.1:1", "unused", group="unused", isolation="commited") as running:
        assert running.wait() == 2
        assert "ISOLATION_LEVEL is 'commited'" in running.errors.splitlines()[-1]


def test_readme_lists_the_variables() -> None:
    """The table of README.md has the variables that the programs read, and no other."""
    programs = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    read = set(re.findall(r"""variables(?:\.get\(|\[)"([A-Z_]+)\"""", programs))
    listed = set(
        re.findall(r"^\| `([A-Z_]+)` \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    assert listed == read
