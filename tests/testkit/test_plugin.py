"""The pytest plugin and the examples of the README, in an environment that has only the kit."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from checkpoint_ready_testkit.plugin import OPTION, VARIABLE

from consumer.kafka.topic_settings import EVENT_POLICY
from tests.support.child_process import ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.testkit.conftest import InstalledKit

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(300)  # the first run installs the packages of the kit

RUN_SECONDS = 100
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "testkit/README.md").read_text(), re.MULTILINE | re.DOTALL
)
# The topics of its tests, as the broker shows them while the tests run.
TESTS = """
import json
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from checkpoint_ready_testkit import (
    KafkaRecord, dead_letter, default_partition, job_events, ready_event, ready_record
)


def read(topic, level="read_committed"):
    settings = {
        **topic.client_settings, "group.id": "unused", "isolation.level": level,
        "enable.partition.eof": True, "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic.name, p, 0) for p in range(topic.partitions)])
    found, ends = [], 0
    while ends < topic.partitions:
        message = consumer.poll(20)
        assert message is not None, "the end of the topic did not come"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ends += 1
        else:
            record = KafkaRecord(message.key(), message.value(), message.headers() or [])
            found.append((message.partition(), record))
    consumer.close()
    return found


def note(topic):
    with Path("topics.txt").open("a") as file:
        file.write(topic.name + "\\n")


def test_testkit_isolation(ready_topic):
    note(ready_topic)
    first, second, third = job_events()
    published = ready_topic.publish(first)
    aborted = ready_topic.publish_aborted(second)
    repeated = ready_topic.publish_twice(second, third)
    assert published == [ready_record(first)]
    assert repeated == [ready_record(one) for one in (second, third, second, third)]
    assert [record for _, record in read(ready_topic)] == published + repeated
    all_records = [record for _, record in read(ready_topic, "read_uncommitted")]
    assert all_records == published + aborted + repeated


@pytest.mark.ready_topic(partitions=3, mode="binary")
def test_testkit_partitions(ready_topic):
    note(ready_topic)
    events = [ready_event(job_id=f"ftjob-{n}", checkpoint_id=f"ftckpt_{n}") for n in range(9)]
    sent = ready_topic.publish(*events)
    assert sent == [ready_record(event, mode="binary") for event in events]
    found = read(ready_topic)
    assert {partition for partition, _ in found} == {0, 1, 2}
    assert all(partition == default_partition(record.key, 3) for partition, record in found)
    assert sorted(record.key for _, record in found) == sorted(record.key for record in sent)


@pytest.mark.parametrize("number", [1, 2])
def test_testkit_is_unique(ready_topic, number):
    note(ready_topic)
    letter = dead_letter("malformed_json", headers=[("h", None)], key=None)
    ready_topic.publish(letter)
    assert [record for _, record in read(ready_topic)] == [letter]


def test_testkit_settings(ready_topic):
    note(ready_topic)
    resource = ConfigResource(ResourceType.TOPIC, ready_topic.name)
    admin = AdminClient(ready_topic.client_settings)
    described = admin.describe_configs([resource])[resource].result()
    config = {name: one.value for name, one in described.items()}
    Path("config.json").write_text(json.dumps(config))


def test_testkit_failing(ready_topic):
    note(ready_topic)
    raise AssertionError("a test that fails")
"""


@pytest.fixture(autouse=True)
def kit_environment(installed_kit: InstalledKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of a run of pytest in the environment of the kit."""
    monkeypatch.setenv("PYTHONPATH", str(installed_kit.folder))
    monkeypatch.delenv(VARIABLE, raising=False)


def run(kit: InstalledKit, pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the tests of the folder of `pytester`."""
    options = ("-p", "no:cacheprovider", *arguments)
    return pytester.run(kit.python, "-m", "pytest", *options, timeout=RUN_SECONDS)


def test_the_fixture_publishes_to_a_topic_of_a_real_broker(
    installed_kit: InstalledKit, pytester: pytest.Pytester, cluster: Cluster
) -> None:
    """Committed, aborted and repeated events; a unique topic, deleted even after a failure.

    The topic has the settings that the service gives to its ready topic.
    """
    pytester.makepyfile(test_kit=TESTS)
    result = run(installed_kit, pytester, OPTION, cluster.bootstrap_servers)
    result.assert_outcomes(passed=5, failed=1)
    topics = (pytester.path / "topics.txt").read_text().split()
    assert len(set(topics)) == 6
    wait_until(lambda: not set(topics) & cluster.topics(), what="the end of the topics")
    config = _loaded((pytester.path / "config.json").read_text())
    assert EVENT_POLICY.items() <= config.items()


def test_a_refused_record_raises_and_the_topic_can_still_be_used(
    installed_kit: InstalledKit, pytester: pytest.Pytester, cluster: Cluster
) -> None:
    """The transaction of the refused record is not committed."""
    pytester.makepyfile(
        test_kit="""
        import pytest
        from confluent_kafka import KafkaException
        from checkpoint_ready_testkit import dead_letter, ready_event

        def test_topic(ready_topic):
            large = dead_letter("malformed_json", value=bytes(2_000_000))
            ready_topic.client_settings["message.max.bytes"] = 3_000_000
            with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
                ready_topic.publish(large)
            assert len(ready_topic.publish(ready_event())) == 1
        """
    )
    run(installed_kit, pytester, OPTION, cluster.bootstrap_servers).assert_outcomes(passed=1)


def test_a_test_without_a_broker_fails_with_the_reason(
    installed_kit: InstalledKit, pytester: pytest.Pytester
) -> None:
    """It is not skipped: a test that did not run would show nothing. Other tests run."""
    pytester.makepyfile(
        test_kit="""
        def test_topic(ready_topic):
            pass

        def test_other():
            pass
        """
    )
    result = run(installed_kit, pytester)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"*needs a broker: give {OPTION} or {VARIABLE}*"])


def test_confluent_kafka_is_needed_only_by_tests_that_use_the_fixture(
    installed_kit: InstalledKit, pytester: pytest.Pytester
) -> None:
    """The plugin loads without the extra `kafka`, and the fixture names the extra."""
    pytester.makeconftest("import sys; sys.modules['confluent_kafka'] = None")
    pytester.makepyfile(
        test_kit="""
        def test_topic(ready_topic):
            pass

        def test_other():
            pass
        """
    )
    result = run(installed_kit, pytester, OPTION, "127.0.0.1:1")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*install checkpoint-ready-testkit[[]kafka]*"])


def test_the_settings_of_the_client_can_be_replaced(
    installed_kit: InstalledKit,
    pytester: pytest.Pytester,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A team adds its login by overriding one fixture. The variable gives the address too."""
    monkeypatch.setenv(VARIABLE, cluster.bootstrap_servers)
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def ready_topic_client_settings(ready_topic_client_settings):
            return {**ready_topic_client_settings, "client.id": "mine"}
        """
    )
    pytester.makepyfile(
        test_kit="""
        from checkpoint_ready_testkit import ready_event

        def test_topic(ready_topic):
            assert ready_topic.client_settings["client.id"] == "mine"
            assert len(ready_topic.publish(ready_event())) == 1
        """
    )
    run(installed_kit, pytester, "--strict-markers").assert_outcomes(passed=1)


def test_the_examples_of_the_readme_work(
    installed_kit: InstalledKit, pytester: pytest.Pytester, cluster: Cluster
) -> None:
    """Each Python block is a complete test module."""
    assert len(EXAMPLES) == 5
    tests = sum(example.count("\ndef test_") for example in EXAMPLES)
    pytester.makepyfile(**{f"test_{n}": example for n, example in enumerate(EXAMPLES)})
    result = run(installed_kit, pytester, OPTION, cluster.bootstrap_servers)
    result.assert_outcomes(passed=tests)


def _loaded(text: str) -> dict[str, str]:
    loaded: dict[str, str] = json.loads(text)
    return loaded
