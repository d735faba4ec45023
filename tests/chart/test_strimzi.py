"""Objects for Strimzi: topics as by `topics create`, and a user with the documented ACLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from consumer.cli.acls import IMPLY_DESCRIBE, USES, needed_acls
from consumer.config import Settings
from consumer.kafka import topic_settings, topics
from consumer.kafka.types import TopicDescription
from tests.chart import bridges
from tests.chart.rendering import render, render_case

if TYPE_CHECKING:
    from tests.chart.rendering import Object, Rendering

INPUT = "fine-tuning.checkpoints"
INPUT_BYTES = 1_048_588
STRIMZI_WORDS = {"transactional-id": "transactionalId", "prefixed": "prefix", "literal": "literal"}


def _described(topic: Object) -> TopicDescription:
    spec = topic["spec"]
    configs = {"max.message.bytes": str(INPUT_BYTES), **spec["config"]}
    return TopicDescription(
        name=spec["topicName"],
        partitions=spec["partitions"],
        replication=spec["replicas"],
        configs={name: _as_kafka_says(value) for name, value in configs.items()},
    )


def _as_kafka_says(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(rendered: Rendering) -> Settings:
    environment = rendered.settings()
    wanted = ("GROUP_ID", "INPUT_TOPICS", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "SHARDS")
    return Settings.load(
        {f"CHECKPOINT_READY_{it}": environment[f"CHECKPOINT_READY_{it}"] for it in wanted}
    )


def test_the_service_finds_nothing_wrong_with_the_topics() -> None:
    """The check at each start accepts all four."""
    rendered = render_case("strimzi")
    found = {it["spec"]["topicName"]: _described(it) for it in rendered.all("KafkaTopic")}
    found[INPUT] = TopicDescription(INPUT, 6, 3, {"max.message.bytes": str(INPUT_BYTES)})
    settings = _settings(rendered)
    assert list(topics.find_problems(settings, found)) == []
    assert list(topics.find_unsafe_settings(settings, found)) == []
    assert len(found) == 5


def test_the_topics_are_as_topics_create_makes_them() -> None:
    """Each topic setting equals that of `topics create`."""
    rendered = render_case("strimzi")
    room = {"max.message.bytes": str(INPUT_BYTES + topic_settings.HEADER_ROOM_BYTES)}
    retention = {"retention.ms": str(topic_settings.DEAD_LETTER_RETENTION_MS)}
    durable = {"min.insync.replicas": str(topic_settings.MIN_INSYNC_REPLICAS)}
    made = {
        it["spec"]["topicName"]: {
            name: _as_kafka_says(value) for name, value in it["spec"]["config"].items()
        }
        for it in rendered.all("KafkaTopic")
    }
    assert made == {
        "checkpoint-ready.changelog": {**topic_settings.CHANGELOG_CONFIGS, **durable},
        "checkpoint-ready.repartition": {**topic_settings.REPARTITION_CONFIGS, **room, **durable},
        "fine-tuning.checkpoint-ready": {**topic_settings.EVENT_CONFIGS, **room, **durable},
        "fine-tuning.checkpoints.dead-letters": {
            **topic_settings.EVENT_CONFIGS,
            **retention,
            **room,
            **durable,
        },
    }
    assert {it["spec"]["replicas"] for it in rendered.all("KafkaTopic")} == {
        topic_settings.REPLICATION
    }


def test_the_repartition_topic_gets_the_configured_retention() -> None:
    """As `topics create` does with the same setting."""
    rendered = render_case("strimzi", config={"REPARTITION_RETENTION_DAYS": 30})
    settings = _settings(rendered)
    made = {it["spec"]["topicName"]: it["spec"]["config"] for it in rendered.all("KafkaTopic")}
    retention = _as_kafka_says(made[settings.repartition_topic]["retention.ms"])
    settings = replace(settings, repartition_retention_days=30)
    assert retention == topic_settings.repartition_retention(settings)


def test_an_uninstall_leaves_the_topics() -> None:
    """Without the changelog every id would be published again."""
    for topic in render_case("strimzi").all("KafkaTopic"):
        assert topic["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert topic["metadata"]["labels"]["strimzi.io/cluster"] == "events"


def _granted(user: Object) -> dict[str, set[str]]:
    granted = {}
    for acl in user["spec"]["authorization"]["acls"]:
        resource = acl["resource"]
        name = f"{resource['type']} {resource['name']} {resource['patternType']}"
        granted[name] = set(acl["operations"])
    return granted


def _needed(rendered: Rendering, *uses: str) -> dict[str, set[str]]:
    """Return the ACLs that the program lists, in the format of Strimzi."""
    needed: dict[str, set[str]] = {}
    for acl in needed_acls(_settings(rendered), uses):
        kind, pattern = STRIMZI_WORDS.get(acl.resource, acl.resource), STRIMZI_WORDS[acl.pattern]
        needed.setdefault(f"{kind} {acl.name} {pattern}", set()).update(acl.operations)
    for operations in needed.values():
        if operations & set(IMPLY_DESCRIBE):
            operations.discard("Describe")
    return needed


@pytest.mark.parametrize("case", ["strimzi", "strimzi-tls"])
def test_the_user_has_the_rights_that_the_service_needs_and_no_other(case: str) -> None:
    """The KafkaUser is the list of `checkpoint-ready acls`."""
    rendered = render_case(case, replay={"enabled": False})
    granted = _granted(rendered.one("KafkaUser"))
    assert len(granted) == 7
    assert granted == _needed(rendered, "run")


def test_with_replays_it_has_theirs_too() -> None:
    """The template of replays uses the same user."""
    rendered = render_case("strimzi", replay={"enabled": True})
    assert _granted(rendered.one("KafkaUser")) == _needed(rendered, "run", "replay")


@pytest.mark.parametrize(
    ("case", "kind", "keys"),
    [
        ("strimzi", "scram-sha-512", {"password": "events-checkpoint-ready"}),
        (
            "strimzi-tls",
            "tls",
            {"user.crt": "events-checkpoint-ready", "user.key": "events-checkpoint-ready"},
        ),
    ],
)
def test_the_login_is_the_one_that_strimzi_makes(
    case: str, kind: str, keys: dict[str, str]
) -> None:
    """The operator puts it into a Secret named like the KafkaUser."""
    rendered = render_case(case)
    user = rendered.one("KafkaUser")
    assert user["metadata"]["name"] == "events-checkpoint-ready"
    assert user["spec"]["authentication"] == {"type": kind}
    used: dict[str, Any] = {
        item["key"]: source["secret"]["name"]
        for _, spec in rendered.pods()
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }
    assert used.items() >= keys.items()


def test_without_strimzi_there_is_nothing_of_it() -> None:
    """The chart must install on a cluster without the CRDs of Strimzi."""
    assert not [it for it in render().objects if "strimzi" in it["apiVersion"]]


@pytest.mark.parametrize("case", ["strimzi", "strimzi-tls"])
def test_strimzi_makes_a_user_for_each_with_exactly_its_rights(case: str) -> None:
    """The KafkaUsers are the lists of `checkpoint-ready acls`, and their Secrets are mounted."""
    rendered = render_case(case, **bridges.ingest(), **bridges.poll())
    settings = Settings.load({"CHECKPOINT_READY_INPUT_TOPICS": "fine-tuning.checkpoints"})
    for component, pod in bridges.bridge_pods(rendered).items():
        name = f"events-checkpoint-ready-{component}"
        granted = _granted(rendered.one("KafkaUser", name))
        assert granted == {"topic fine-tuning.checkpoints literal": {"Write", "DescribeConfigs"}}
        if component in USES:
            needed = {
                f"{acl.resource} {acl.name} {acl.pattern}": set(acl.operations)
                - ({"Describe"} if set(acl.operations) & set(IMPLY_DESCRIBE) else set())
                for acl in needed_acls(settings, [component])
                if not acl.only_with and acl.resource != "cluster"  # only for old brokers
            }
            assert granted == needed
        if case == "strimzi":
            login = bridges.secret_sources(pod, "sasl")
            assert login["password"] == (name, "password")
            secret, key = login["username"]
            assert rendered.one("Secret", secret)["data"] == {key: bridges.base64_of(name)}
        else:
            files = bridges.secret_sources(pod, "tls")
            assert files["client.crt"] == (name, "user.crt")
            assert files["client.key"] == (name, "user.key")
