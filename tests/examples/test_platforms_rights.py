"""The KafkaUsers of examples/platforms/strimzi, on a real broker that authorizes by ACLs."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from tests.support.connect_worker import DistributedWorker
from tests.support.records import NewRecord
from tests.support.secured_kafka import MECHANISM, PASSWORD, SASL, SCRAM_LOGIN, Acl, SecuredKafka
from tests.support.waiting import wait_until

STRIMZI = Path(__file__).parents[2] / "examples/platforms/strimzi"
READY, GROUP = "fine-tuning.checkpoint-ready", "model-registry"
DEAD_LETTERS = "model-registry.dead-letters"
NOT_JSON = b"not JSON"
WORKER_SECONDS = 60.0
DENIED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


def _spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((STRIMZI / name).read_text())["spec"]
    return spec


def _acls(name: str) -> list[Acl]:
    """Return the ACLs of a KafkaUser as the admin client spells them."""
    return [
        Acl(
            acl["resource"]["type"].upper(),
            acl["resource"]["name"],
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper(),
            {"literal": "LITERAL", "prefix": "PREFIXED"}[acl["resource"]["patternType"]],
        )
        for acl in _spec(name)["authorization"]["acls"]
        for operation in acl["operations"]
    ]


SUBSCRIBER = _acls("kafka-user.yaml")


@pytest.fixture(scope="module")
def secured(secured_kafka: SecuredKafka) -> SecuredKafka:
    """Return a broker with a ready topic that holds one committed record, which is not JSON."""
    cluster = secured_kafka.cluster()
    cluster.create_topics({READY: 1})
    cluster.produce(READY, [NewRecord(NOT_JSON, partition=0)], transactional_id="service")
    return secured_kafka


def _client_settings(secured: SecuredKafka, user: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": secured.kafka.listener(SASL),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": MECHANISM,
        "sasl.username": user,
        "sasl.password": PASSWORD,
    }


def _read_and_commit(secured: SecuredKafka, user: str) -> bytes | None:
    """Read one event in the group and commit its offset. A missing right raises KafkaException."""
    group = {"group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    with closing(Consumer({**_client_settings(secured, user), **group})) as consumer:
        consumer.subscribe([READY])
        message = wait_until(lambda: consumer.poll(0.5), what="an event or an error")
        error = message.error()
        if error is not None:
            raise KafkaException(error)
        consumer.commit(message=message, asynchronous=False)
        return message.value()


def test_the_subscriber_reads_and_commits(secured: SecuredKafka) -> None:
    """Read on the topic and on the group is enough."""
    secured.add_user("subscriber", SUBSCRIBER)
    assert _read_and_commit(secured, "subscriber") == NOT_JSON


@pytest.mark.parametrize("missing", SUBSCRIBER, ids=lambda acl: acl.resource.lower())
def test_the_subscriber_needs_each_right(secured: SecuredKafka, missing: Acl) -> None:
    """Without one of the rights it gets an error and no event."""
    user = f"no-{missing.resource.lower()}"
    secured.add_user(user, [acl for acl in SUBSCRIBER if acl != missing])
    with pytest.raises(KafkaException) as refused:
        _read_and_commit(secured, user)
    assert refused.value.args[0].code() in DENIED


def test_the_subscriber_cannot_write(secured: SecuredKafka) -> None:
    """Only the service publishes ready events."""
    secured.add_user("writer", SUBSCRIBER)
    errors: list[KafkaError | None] = []
    producer = Producer(_client_settings(secured, "writer"))
    producer.produce(READY, b"forged", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30.0) == 0
    (error,) = errors
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def _worker_settings(secured: SecuredKafka, user: str) -> dict[str, str]:
    """Return what Strimzi makes of the KafkaConnect, for this broker and login."""
    spec = _spec("kafka-connect.yaml")
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": MECHANISM,
        "sasl.jaas.config": SCRAM_LOGIN.replace(
            "required;", f'required username="{user}" password="{PASSWORD}";'
        ),
    }
    clients = ("", "consumer.", "producer.", "admin.")
    return {
        "bootstrap.servers": secured.kafka.listener(SASL),
        "group.id": spec["groupId"],
        "config.storage.topic": spec["configStorageTopic"],
        "offset.storage.topic": spec["offsetStorageTopic"],
        "status.storage.topic": spec["statusStorageTopic"],
        **{name: str(value) for name, value in spec["config"].items()},
        **{f"{client}{name}": value for client in clients for name, value in login.items()},
    }


def test_the_connect_cluster_has_the_rights_that_it_needs(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    """It creates its topics, and its connector reads an event and writes a dead letter."""
    secured.add_user("subscribers", _acls("connect-user.yaml"))
    connector = _spec("kafka-connector.yaml")
    config = {
        **{name: str(value) for name, value in connector["config"].items()},
        "connector.class": connector["class"],
        "file": str(tmp_path / "events.txt"),
        "errors.deadletterqueue.topic.replication.factor": "1",
        "value.converter.schemas.enable": "false",
    }
    with DistributedWorker(tmp_path, _worker_settings(secured, "subscribers")) as worker:
        worker.create("checkpoint-ready", config)
        cluster = secured.cluster()

        def has_dead_letter() -> bool:
            assert not worker.has_ended, worker.log_tail
            return DEAD_LETTERS in cluster.topics() and bool(cluster.end_offsets(DEAD_LETTERS)[0])

        wait_until(has_dead_letter, WORKER_SECONDS, what="a dead letter")
        assert [letter.value for letter in cluster.read(DEAD_LETTERS)] == [NOT_JSON]
        wait_until(lambda: cluster.group_offsets("connect-checkpoint-ready"), what="a commit")
