"""Contradictory values are refused. The message names the fix."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import Refused, render

SASL = {"bootstrapServers": "kafka:9092", "securityProtocol": "SASL_SSL"}
SCRAM = {"mechanism": "SCRAM-SHA-512"}
TOPICS_BY_STRIMZI = {"topics": {"create": False}, "shards": 3}
STRIMZI = {"enabled": True, "cluster": "k", "createdShards": 3}


def _kafka(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a chart are any
    return {"kafka": {"bootstrapServers": "kafka:9092", **values}}


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no broker": ({"kafka": {}}, "kafka.bootstrapServers is empty: set it to your brokers"),
    "an autoscaler without a measure": (
        {
            "shards": 6,
            "hpa": {"enabled": True},
            "resources": {"requests": {"cpu": None, "memory": "512Mi"}},
        },
        "hpa.enabled scales by the percentage of resources.requests.cpu, which is not set",
    ),
    "a broker without a port": (
        {"kafka": {"bootstrapServers": "a:9092,kafka"}},
        'kafka.bootstrapServers has "kafka", which is not host:port',
    ),
    "a broker at a port that there is not": (
        {"kafka": {"bootstrapServers": "a:9092,b:99999"}},
        'kafka.bootstrapServers has "b:99999", which is not host:port',
    ),
    "a broker at port 0": (
        {"kafka": {"bootstrapServers": "a:0"}},
        'kafka.bootstrapServers has "a:0", which is not host:port',
    ),
    "no drain, by all of whatever there is": (
        {"replicas": None, "podDisruptionBudget": {"minAvailable": "100%"}},
        "podDisruptionBudget.minAvailable=100% keeps all pods, so no node can be drained",
    ),
    "no drain, by no share away in two digits": (
        {"podDisruptionBudget": {"maxUnavailable": "00%"}},
        "with podDisruptionBudget.maxUnavailable=0 no node can be drained: set it to 1 or more",
    ),
    "more memory than allowed": (
        {"resources": {"requests": {"memory": "2Gi"}}},
        "resources.requests.memory=2Gi is above resources.limits.memory=1Gi: raise both",
    ),
    "more CPU than allowed": (
        {"resources": {"requests": {"cpu": 1.5}, "limits": {"cpu": "1200m"}}},
        "resources.requests.cpu=1.5 is above resources.limits.cpu=1200m: raise both",
    ),
    "silent for too short a time": (
        {"config": {"HEARTBEAT_INTERVAL_MS": 4000}},
        "config.HEARTBEAT_INTERVAL_MS is 4000, more than a third of config.SESSION_TIMEOUT_MS",
    ),
    "watched for too short a time": (
        {"config": {"WATCHDOG_SECONDS": 29}},
        "config.WATCHDOG_SECONDS is 29, less than twice config.TRANSACTION_TIMEOUT_MS (15000 ms)",
    ),
    "an input of our own": (
        {"topics": {"inputs": ["a", "ready"], "output": "ready"}},
        "topics.inputs names ready, which is topics.output: the service would read its own output",
    ),
    "the changelog as input": (
        {"groupId": "g", "topics": {"inputs": ["g.changelog"]}},
        "topics.inputs names g.changelog, which is the changelog of groupId",
    ),
    "one topic for two things": (
        {"topics": {"output": "same", "deadLetters": "same"}},
        "topics.output, topics.deadLetters and the internal topics of groupId must differ",
    ),
    "inputs without the Job": (
        {"topics": {"create": False, "inputPartitions": 6}},
        "topics.inputPartitions is set, but the Job that creates the inputs is off",
    ),
    "more processes than shards": (
        {"replicas": 7, "shards": 6},
        "replicas is 7, but there are only 6 shards, and a process without a shard is idle: lower",
    ),
    "two autoscalers": (
        {"shards": 6, "keda": {"enabled": True}, "hpa": {"enabled": True}},
        "keda.enabled and hpa.enabled would conflict: disable one of them",
    ),
    "scaling without a bound": (
        {"keda": {"enabled": True}},
        "keda.enabled needs shards as the upper limit of replicas: set it to the partitions of",
    ),
    "scaling beyond the shards": (
        {"shards": 6, "hpa": {"enabled": True, "maxReplicas": 8}},
        "hpa.maxReplicas is 8, but there are only 6 shards: lower it",
    ),
    "least above most": (
        {"shards": 6, "keda": {"enabled": True, "minReplicas": 4, "maxReplicas": 3}},
        "keda.minReplicas is 4, above the 3 of keda.maxReplicas or shards: lower it",
    ),
    "a login without a mechanism": (
        _kafka(securityProtocol="SASL_SSL", sasl={"existingSecret": "login"}),
        "kafka.securityProtocol=SASL_SSL needs kafka.sasl.mechanism: SCRAM-SHA-512",
    ),
    "a login without a secret": (
        {"kafka": {**SASL, "sasl": SCRAM}},
        "needs credentials: name a Secret in kafka.sasl.existingSecret, or set kafka.sasl.username",
    ),
    "a user without a password": (
        {"kafka": {**SASL, "sasl": {**SCRAM, "username": "me"}}},
        "needs credentials: name a Secret in kafka.sasl.existingSecret, or set kafka.sasl.username",
    ),
    "two passwords": (
        {"kafka": {**SASL, "sasl": {**SCRAM, "existingSecret": "login", "password": "x"}}},
        "kafka.sasl.existingSecret and kafka.sasl.password are both set: keep one",
    ),
    "a login that is not used": (
        _kafka(securityProtocol="SSL", sasl={"existingSecret": "login"}),
        "kafka.sasl is set, but kafka.securityProtocol does not use it: set kafka.securityProtocol",
    ),
    "certificates that are not used": (
        _kafka(tls={"caSecret": "ca"}),
        "does not use it: set kafka.securityProtocol to SSL or SASL_SSL",
    ),
    "killed in the middle": (
        {"terminationGracePeriodSeconds": 30},
        "terminationGracePeriodSeconds is 30, but a graceful shutdown may take 35 s: set it to 40",
    ),
    "no drain, by no pod away": (
        {"podDisruptionBudget": {"maxUnavailable": 0}},
        "with podDisruptionBudget.maxUnavailable=0 no node can be drained: set it to 1 or more",
    ),
    "no drain, by no share away": (
        {"podDisruptionBudget": {"maxUnavailable": "0%"}},
        "with podDisruptionBudget.maxUnavailable=0 no node can be drained: set it to 1 or more",
    ),
    "no drain, by all there": (
        {"podDisruptionBudget": {"minAvailable": 2}},
        "podDisruptionBudget.minAvailable=2 keeps all of 2 pods, so no node can be drained",
    ),
    "no drain, by a share that rounds up": (
        {"replicas": 3, "podDisruptionBudget": {"minAvailable": "67%"}},
        "podDisruptionBudget.minAvailable=67% keeps all of 3 pods, so no node can be drained",
    ),
    "no drain, at the least of an autoscaler": (
        {
            "shards": 6,
            "keda": {"enabled": True},
            "podDisruptionBudget": {"minAvailable": 1},
        },
        "podDisruptionBudget.minAvailable=1 keeps all of 1 pods, so no node can be drained",
    ),
    "counted twice": (
        {"monitoring": {"podMonitor": True, "serviceMonitor": True}},
        "monitoring.podMonitor and monitoring.serviceMonitor would scrape every process twice",
    ),
    "our own setting as another's": (
        {"extraEnv": {"CHECKPOINT_READY_LOG_LEVEL": "debug"}},
        "extraEnv.CHECKPOINT_READY_LOG_LEVEL is a setting of this service: set it under config",
    ),
    "a login of replays that is not used": (
        {"replay": {"enabled": True, "existingSecret": "login"}},
        "replay.existingSecret is only for kafka.securityProtocol SASL_SSL",
    ),
    "Strimzi without a cluster": (
        {**TOPICS_BY_STRIMZI, "strimzi": {"enabled": True, "createdShards": 3}},
        "strimzi.enabled needs strimzi.cluster, the name of the Kafka resource",
    ),
    "Strimzi without shards": (
        {"topics": {"create": False}, "strimzi": {"enabled": True, "cluster": "k"}},
        "strimzi.enabled needs shards, the partition count of the topics that Strimzi creates",
    ),
    "Strimzi without the number of shards at the first install": (
        {**TOPICS_BY_STRIMZI, "strimzi": {"enabled": True, "cluster": "k"}},
        "strimzi.enabled needs strimzi.createdShards, the number of shards at the first install",
    ),
    "Strimzi and another number of shards, without a cluster": (
        {
            "topics": {"create": False},
            "shards": 6,
            "strimzi": {"enabled": True, "cluster": "k", "createdShards": 3},
        },
        "shards is 6, but strimzi.createdShards says that the topics were created with 3, which",
    ),
    "Strimzi and the Job": (
        {"shards": 3, "strimzi": STRIMZI},
        "with strimzi.enabled, Strimzi creates the topics: set topics.create=false",
    ),
    "Strimzi and a login": (
        {
            **TOPICS_BY_STRIMZI,
            "strimzi": STRIMZI,
            "kafka": {**SASL, "sasl": {**SCRAM, "existingSecret": "login"}},
        },
        "with strimzi.enabled, Strimzi creates the user and its Secret: leave kafka.sasl.username",
    ),
    "Strimzi and a mechanism that it has not": (
        {
            **TOPICS_BY_STRIMZI,
            "strimzi": STRIMZI,
            "kafka": {**SASL, "sasl": {"mechanism": "PLAIN"}},
        },
        "Strimzi supports only the mechanism SCRAM-SHA-512: set kafka.sasl.mechanism to it",
    ),
    "Strimzi and a certificate": (
        {
            **TOPICS_BY_STRIMZI,
            "strimzi": STRIMZI,
            **_kafka(securityProtocol="SSL", tls={"clientSecret": "client"}),
        },
        "Strimzi creates the client certificate: leave kafka.tls.clientSecret empty",
    ),
    "a value that there is not": ({"replica": 3}, "additional properties 'replica' not allowed"),
    "a setting that there is not": (
        {"config": {"COMMIT_INTERVAL": 5}},
        "additional properties 'COMMIT_INTERVAL' not allowed",
    ),
    "forwards that Strimzi would delete early": (
        {
            **TOPICS_BY_STRIMZI,
            "strimzi": STRIMZI,
            "config": {"REPARTITION_RETENTION_DAYS": 13},
        },
        "at '/config/REPARTITION_RETENTION_DAYS': minimum: got 13, want 14",
    ),
    "a setting of a wrong type": ({"config": {"LOG_LEVEL": "loud"}}, "at '/config/LOG_LEVEL'"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_bad_combination_is_refused_with_its_fix(name: str) -> None:
    """Nothing is installed, and the message says what to change."""
    values, sentence = REFUSALS[name]
    with pytest.raises(Refused) as refused:
        render(**values)
    assert sentence in str(refused.value)
    # One value is wrong, so there is one message.
    assert str(refused.value).count("\n  - ") <= 1


def test_all_problems_are_reported_at_once() -> None:
    """Three mistakes give three messages, not one after the other."""
    with pytest.raises(Refused) as refused:
        render(
            replicas=9, shards=3, terminationGracePeriodSeconds=5, **_kafka(tls={"caSecret": "a"})
        )
    assert str(refused.value).count("\n  - ") == 3


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 1, "podDisruptionBudget": {"maxUnavailable": "10%"}},
        {"replicas": 3, "podDisruptionBudget": {"minAvailable": "66%"}},
        {"replicas": 6, "shards": 6},
        {"replicas": 1, "podDisruptionBudget": {"enabled": False, "minAvailable": 1}},
        {"replicas": 0},
        {"config": {"REPARTITION_RETENTION_DAYS": 0}},
        {"config": {"REPARTITION_RETENTION_DAYS": 14}},
        {"resources": {"requests": {"memory": 536870912}, "limits": {"memory": "0.5Gi"}}},
        {"resources": {"requests": {"cpu": "1000m"}, "limits": {"cpu": 1}}},
        {"resources": {"requests": {"memory": "600Mi"}, "limits": {"memory": None}}},
        {
            "shards": 6,
            "hpa": {"enabled": True},
            "resources": {"requests": {"cpu": None}, "limits": {"cpu": "2"}},
        },
    ],
)
def test_values_at_the_limit_are_accepted(values: dict[str, Any]) -> None:
    """No valid combination is refused."""
    assert render(**values).one("Deployment")
