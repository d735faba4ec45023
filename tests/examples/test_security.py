"""The subscribers in Go, Java and TypeScript log in to a broker, with a properties file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from dev.subscribers import go_subscriber, java_subscriber, typescript_subscriber
from tests.examples.failure_scenarios import only_event
from tests.examples.harness import Example
from tests.examples.scenarios import NO_BROKER_SECONDS
from tests.support.secured_kafka import (
    MECHANISM,
    MUTUAL,
    PASSWORD,
    SASL,
    SCRAM_LOGIN,
    TLS,
    Acl,
    SecuredKafka,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.examples.history import History
    from tests.support.topics import Names

# The first test of TypeScript may compile the native addon.
pytestmark = pytest.mark.timeout(600)

USER: Final = "subscriber"
PROTOCOLS: Final = {SASL: "SASL_PLAINTEXT", TLS: "SASL_SSL", MUTUAL: "SSL"}
BUILDS: Final = {
    "go": (go_subscriber, ["go"]),
    "java": (java_subscriber, ["javac", "mvn"]),
    "typescript": (typescript_subscriber, ["node", "npm"]),
}


@pytest.fixture(scope="module", params=BUILDS)
def example(request: pytest.FixtureRequest) -> Example:
    """Return the program in each language, built once."""
    build, tools = BUILDS[request.param]
    if any(shutil.which(tool) is None for tool in tools):
        pytest.skip(f"{tools} is missing")
    return Example(request.param, build())


@pytest.fixture(scope="module")
def secured(secured_kafka: SecuredKafka) -> SecuredKafka:
    """Return a broker with a user that may read every topic, in every group."""
    resources = [("TOPIC", "READ"), ("TOPIC", "DESCRIBE"), ("GROUP", "READ")]
    acls = [Acl(resource, "*", operation) for resource, operation in resources]
    secured_kafka.add_user(USER, acls)
    secured_kafka.allow(f"CN={USER}", acls)
    return secured_kafka


@pytest.fixture
def topic(secured: SecuredKafka, history: History, names: Names) -> str:
    """Write an event to a topic of the broker."""
    topic = names.topic("secured")
    secured.cluster().create_topics({topic: 1})
    secured.cluster().produce(topic, [only_event(history)])
    return topic


@pytest.mark.parametrize("listener", [SASL, TLS, MUTUAL])
def test_login(
    example: Example, listener: str, secured: SecuredKafka, topic: str, tmp_path: Path
) -> None:
    """The program reads and commits with SCRAM, with SCRAM over TLS, and with a certificate."""
    group = f"{topic}.group"
    file = _written(tmp_path, _properties(example, secured, listener, tmp_path))
    with example.start(
        secured.kafka.listener(listener), topic, group=group, KAFKA_PROPERTIES_FILE=file
    ) as running:
        running.wait_for_ids({"only"})
        assert running.stop_by() == 0
    assert secured.cluster().group_offsets(group) == {(topic, 0): 1}


def test_wrong_password(
    example: Example, secured: SecuredKafka, topic: str, tmp_path: Path
) -> None:
    """The program ends with an error about the login, and no message contains the password."""
    known = _properties(example, secured, SASL, tmp_path)
    wrong = {name: value.replace(PASSWORD, "another password") for name, value in known.items()}
    with example.start(
        secured.kafka.listener(SASL),
        topic,
        group="unused",
        KAFKA_PROPERTIES_FILE=_written(tmp_path, wrong),
    ) as running:
        assert running.wait(NO_BROKER_SECONDS) == 1
        assert "authentication" in running.errors.lower()
        assert "another password" not in running.errors


def test_isolation_level_in_the_file(
    example: Example, secured: SecuredKafka, topic: str, tmp_path: Path
) -> None:
    """The file cannot change the isolation level: this is refused, or has no effect in Java."""
    known = _properties(example, secured, SASL, tmp_path)
    file = _written(tmp_path, {**known, "isolation.level": "unknown"})
    with example.start(
        secured.kafka.listener(SASL), topic, group=f"{topic}.group", KAFKA_PROPERTIES_FILE=file
    ) as running:
        if example.name == "java":
            running.wait_for_ids({"only"})
            assert running.stop_by() == 0
        else:
            assert running.wait() == 1
            assert "isolation.level" in running.errors


def _written(folder: Path, properties: Mapping[str, str]) -> str:
    file = folder / "client.properties"
    lines = (f"{name}={value}\n" for name, value in properties.items())
    file.write_text("# TLS and SASL\n\n" + "".join(lines))
    return str(file)


def _properties(
    example: Example, secured: SecuredKafka, listener: str, folder: Path
) -> dict[str, str]:
    """Return the properties with the names of Kafka's Java client, or with those of librdkafka."""
    properties = {"security.protocol": PROTOCOLS[listener]}
    if listener != MUTUAL:
        properties["sasl.mechanism"] = MECHANISM
    if example.name == "java":
        return properties | _java_properties(secured, listener, folder)
    if listener != MUTUAL:
        properties |= {"sasl.username": USER, "sasl.password": PASSWORD}
    if listener != SASL:
        properties["ssl.ca.location"] = str(secured.authority.file)
    if listener == MUTUAL:
        ours = secured.authority.certify(USER)
        properties["ssl.certificate.location"] = str(ours.chain)
        properties["ssl.key.location"] = str(ours.key)
    return properties


def _java_properties(secured: SecuredKafka, listener: str, folder: Path) -> dict[str, str]:
    properties = {}
    if listener != MUTUAL:
        login = f'{SCRAM_LOGIN.removesuffix(";")} username="{USER}" password="{PASSWORD}";'
        properties["sasl.jaas.config"] = login
    if listener != SASL:
        properties["ssl.truststore.type"] = "PEM"
        properties["ssl.truststore.location"] = str(secured.authority.file)
    if listener == MUTUAL:
        ours, store = secured.authority.certify(USER), folder / "keystore.pem"
        store.write_text(ours.key.read_text() + ours.chain.read_text())
        properties["ssl.keystore.type"] = "PEM"
        properties["ssl.keystore.location"] = str(store)
    return properties
