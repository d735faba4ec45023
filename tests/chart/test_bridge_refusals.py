"""Contradictory values of `ingest` and `poll` are refused, as by the programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumer.errors import ConfigError
from consumer.sources.ingest_config_file import load_config
from consumer.sources.poll.accounts import load_accounts
from tests.chart import bridges
from tests.chart.bridges import ACCOUNT, SECRET_FILES, TOKEN, as_toml, ingest, poll
from tests.chart.rendering import SECRETS, Refused, render

if TYPE_CHECKING:
    from pathlib import Path

SASL = {
    "bootstrapServers": "kafka:9092",
    "securityProtocol": "SASL_SSL",
    "sasl": {"mechanism": "SCRAM-SHA-512", "existingSecret": "login"},
}
STRIMZI = {
    "shards": 3,
    "topics": {"create": False},
    "strimzi": {"enabled": True, "cluster": "k", "createdShards": 3},
    "kafka": {**SASL, "sasl": {"mechanism": "SCRAM-SHA-512"}},
}
ANYBODY = {"checkpoints": {"anonymous": True, "token_files": []}}
TWO_TOPICS = {"topics": {"inputs": ["a", "b"]}}


def _webhook(kind: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a chart are any
    files = "token_files" if kind == "bearer" else "secret_files"
    return {"webhooks": {"a": {"kind": kind, files: [TOKEN], **more}}}


def _accounts(**changes: object) -> dict[str, Any]:
    """Return an account that is not polled."""
    return {"poll": {"accounts": [{**ACCOUNT, **changes}], "secretFiles": SECRET_FILES}}


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a receiver without a configuration": (
        {"ingest": {"enabled": True}},
        "ingest.enabled needs a sender: set ingest.config.checkpoints.token_files, or add",
    ),
    "a poller without an account": (
        {"poll": {"enabled": True}},
        "poll.enabled needs poll.accounts: add an account",
    ),
    "a file that is not mounted": (
        ingest(secretFiles={"other": SECRET_FILES["token"]}),
        f"ingest names the file {TOKEN}, but ingest.secretFiles has no token: add it",
    ),
    "a file of a webhook that is not mounted": (
        ingest({"webhooks": {"a": {"kind": "bearer", "token_files": [f"{SECRETS}/a"]}}}),
        f"ingest names the file {SECRETS}/a, but ingest.secretFiles has no a: add it",
    ),
    "a file elsewhere": (
        ingest({"checkpoints": {"token_files": ["token"]}}),
        f"ingest names the file token: secrets are in the folder {SECRETS}",
    ),
    "a key that is not mounted": (
        poll({**ACCOUNT, "key_file": f"{SECRETS}/a"}),
        f"poll names the file {SECRETS}/a, but poll.secretFiles has no a: add it",
    ),
    "a header that is not mounted": (
        poll({**ACCOUNT, "header_files": {"x-api-key": f"{SECRETS}/a"}}),
        f"poll names the file {SECRETS}/a, but poll.secretFiles has no a: add it",
    ),
    "more requests than connections": (
        ingest({"limits": {"requests": 600}}),
        "ingest.config.limits.requests must not be more than connections: lower it",
    ),
    "two doors": (
        ingest(
            ingress={"enabled": True, "hosts": ["a.example"]},
            httpRoute={"enabled": True, "parentRefs": [{"name": "public"}]},
        ),
        "ingest.ingress.enabled and ingest.httpRoute.enabled would publish the receiver twice",
    ),
    "an Ingress without a host": (
        ingest(ingress={"enabled": True}),
        "ingest.ingress.enabled needs ingest.ingress.hosts",
    ),
    "a route without a Gateway": (
        ingest(httpRoute={"enabled": True}),
        "ingest.httpRoute.enabled needs ingest.httpRoute.parentRefs",
    ),
    "an autoscaler and a number": (
        ingest(replicas=3, hpa={"enabled": True}),
        "ingest.hpa.enabled sets the number of processes: leave ingest.replicas empty",
    ),
    "least above most": (
        ingest(hpa={"enabled": True, "minReplicas": 4, "maxReplicas": 3}),
        "ingest.hpa.minReplicas is 4, above the 3 of ingest.hpa.maxReplicas: lower it",
    ),
    "an autoscaler without a measure": (
        ingest(hpa={"enabled": True}, resources={"requests": {"cpu": None}}),
        "ingest.hpa.enabled scales by the percentage of ingest.resources.requests.cpu",
    ),
    "no drain": (
        ingest(podDisruptionBudget={"maxUnavailable": "0%"}),
        "with ingest.podDisruptionBudget.maxUnavailable=0 no node can be drained",
    ),
    "one port for two things": (
        ingest({"port": 8080}),
        "ingest.config.port and httpPort are both 8080: change one",
    ),
    "a choice of topics": (
        {**ingest(), **TWO_TOPICS},
        "topics.inputs has several topics: set ingest.topic to one of them (a, b)",
    ),
    "a topic that the service does not read": (
        ingest(topic="other"),
        "ingest.topic is other, which the service does not read: choose one of topics.inputs",
    ),
    "a topic of the poller that the service does not read": (
        poll(topic="other"),
        "poll.topic is other, which the service does not read: choose one of topics.inputs",
    ),
    "more memory than allowed": (
        poll(resources={"requests": {"memory": "1Gi"}}),
        "poll.resources.requests.memory=1Gi is above poll.resources.limits.memory=256Mi",
    ),
    "a login that is not used": (
        ingest(kafka={"existingSecret": "login"}),
        "ingest.kafka.existingSecret is only for kafka.securityProtocol SASL_SSL",
    ),
    "a certificate that is not used": (
        {**poll(kafka={"clientSecret": "client"}), "kafka": SASL},
        "poll.kafka.clientSecret replaces kafka.tls.clientSecret, which is not set",
    ),
    "Strimzi and a login": (
        {**poll(kafka={"existingSecret": "login"}), **STRIMZI},
        "with strimzi.enabled, Strimzi creates a user for poll: leave poll.kafka.existingSecret",
    ),
    "Strimzi and a certificate": (
        {**ingest(kafka={"clientSecret": "client"}), **STRIMZI},
        "with strimzi.enabled, Strimzi creates a user for ingest: leave ingest.kafka.clientSecret",
    ),
    "a secret in a ConfigMap": (
        poll({**ACCOUNT, "headers": {"X-Api-Key": "hidden"}}),
        "poll.accounts, openai: the header X-Api-Key holds a secret, which must not be in a Conf",
    ),
    "an account that there is not": (
        ingest(_webhook("standard-webhooks", account="openai")),
        "ingest.config.webhooks.a.account is openai, which is not in poll.accounts: add",
    ),
    "an account without events": (
        {
            **ingest(_webhook("standard-webhooks", account="t")),
            **_accounts(name="t", kind="together"),
        },
        "ingest.config.webhooks.a.account is t, which has the kind together: only openai sends",
    ),
    "an account without its key": (
        {
            **ingest(_webhook("standard-webhooks", account="openai")),
            **_accounts(key_file=f"{SECRETS}/key"),
        },
        f"poll.accounts names the file {SECRETS}/key, but poll.secretFiles has no key: add it",
    ),
    "an account that would not be accepted": (
        {
            **ingest(_webhook("standard-webhooks", account="openai")),
            **_accounts(headers={"Cookie": "a"}),
        },
        "poll.accounts, openai: the header Cookie holds a secret",
    ),
    "two files of one name": (
        {
            **ingest(
                _webhook("standard-webhooks", account="openai"),
                secretFiles={"token": {"secret": "other", "key": "token"}},
            ),
            **_accounts(),
        },
        "ingest.secretFiles and poll.secretFiles have different files token",
    ),
    "a key of the file that there is not": (
        ingest({"limits": {"bodies": 1}}),
        "additional properties 'bodies' not allowed",
    ),
    "an unknown kind": (poll(kind="StatefulSet"), "at '/poll/kind'"),
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


def test_a_switched_off_bridge_is_not_checked() -> None:
    """Values that wait for later do no harm."""
    for name in ("a receiver without a configuration", "a file elsewhere", "two doors"):
        values = {**REFUSALS[name][0]["ingest"], "enabled": False}
        assert render(ingest=values).one("Deployment")


FIELDS: dict[str, Any] = {
    "id": {"pointer": "/id"},
    "created_at": {"pointer": "/at"},
    "fine_tuning_job_id": {"value": "job"},
    "fine_tuned_model_checkpoint": {"template": "{/a}-{/b~1c}"},
    "step_number": {"value": 1},
}


def _mapped(name: str = "id", **field: object) -> dict[str, Any]:
    return _webhook("bearer", checkpoint={"fields": {**FIELDS, name: field}})


HMAC = {"header": "X-Signature"}
CONFIGS: list[dict[str, Any]] = [
    {},
    ANYBODY,
    {"checkpoints": {"anonymous": True, "token_files": [TOKEN]}},
    {"checkpoints": {"token_files": []}},
    {"checkpoints": {"token_files": []}, **_webhook("bearer")},
    {"port": 0},
    {"port": 65536},
    {"limits": {"memory_bytes": 2097152}},
    {"limits": {"memory_bytes": 2097151}},
    {"limits": {"memory_bytes": 4194303, "body_bytes": 2097152}},
    {"limits": {"shutdown_seconds": 18}},
    {"limits": {"shutdown_seconds": 17.5}},
    {"limits": {"shutdown_seconds": 17.5, "request_seconds": 9.5}},
    {"limits": {"delivery_seconds": 0}},
    {"limits": {"elements": 1.5}},
    _webhook("standard-webhooks", account="openai", tolerance_seconds=3600),
    _webhook("standard-webhooks", account="openai", checkpoint={"fields": FIELDS}),
    _webhook("standard-webhooks", public_key_files=[TOKEN]),
    {"webhooks": {"a": {"kind": "standard-webhooks", "public_key_files": [TOKEN]}}},
    {"webhooks": {"a": {"kind": "standard-webhooks"}}},
    _webhook("standard-webhooks", tolerance_seconds=3601),
    _webhook("standard-webhooks", header="x"),
    _webhook("hmac-body"),
    _webhook("hmac-body", **HMAC),
    _webhook("hmac-body", **HMAC, timestamp_header="X-Time", signed_headers=["X-Time"]),
    _webhook("hmac-body", **HMAC, timestamp_header="X-Time"),
    _webhook("hmac-body", **HMAC, encoding="base32"),
    _webhook("hmac-body", header="no header"),
    _webhook("unknown"),
    {"webhooks": {"a": {"kind": "bearer"}}},
    {"webhooks": {"a": {"kind": "bearer", "token_files": []}}},
    {"webhooks": {"A_B": {"kind": "bearer", "token_files": [TOKEN]}}},
    _mapped(pointer="/id"),
    _mapped(pointer="id"),
    _mapped(pointer="/a~2"),
    _mapped(),
    _mapped(pointer="/id", template="{/id}"),
    _mapped(value="x", pointer="/id"),
    _mapped(value=False),
    *(
        _mapped(template=text)
        for text in ("{/id}", "a", "{id}", "{/a", "/a}", "{}", "{{/a}}", "{/~2}")
    ),
    _mapped("idd", pointer="/id"),
    _mapped("metrics", value=1),
    _mapped("step_number", value="x"),
    _mapped("provider", value=""),
    _mapped("object", value="other"),
    _mapped("object", value="fine_tuning.job.checkpoint"),
    _webhook("bearer", checkpoint={"fields": {"id": {"pointer": "/id"}}}),
    *(
        _webhook("bearer", checkpoint={"fields": FIELDS, **more})
        for more in (
            {"when": {"/a": 1}},
            {"when": {"a": 1}},
            {"metrics": {"train_loss": {"pointer": "/l"}, "step": {"value": 1.5}}},
            {"metrics": {"loss": {"pointer": "/l"}}},
            {"metrics": {"train_loss": {"value": "x"}}},
        )
    ),
    {"limits": {"requests": 512}},
    {"limits": {"requests": 513}},
    _webhook("bearer", checkpoint={"metrics": {}}),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_configuration_is_refused_as_by_the_receiver(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """What the chart accepts, the program accepts, and the other way round."""
    values = ingest(config) | _accounts()
    path = tmp_path / "ingest.toml"
    lines = (f"{key} = {as_toml(it)}" for key, it in values["ingest"]["config"].items())
    path.write_text("\n".join(lines))
    try:
        expected = load_config(path)
    except ConfigError:
        with pytest.raises(Refused):
            render(**values)
    else:
        assert bridges.ingest_config(render(**values), tmp_path) == expected


ACCOUNTS: list[list[dict[str, Any]]] = [
    [ACCOUNT],
    [ACCOUNT, ACCOUNT],
    [ACCOUNT, {**ACCOUNT, "name": "b"}],
    [{**ACCOUNT, "kind": "other"}],
    [{**ACCOUNT, "name": "a b"}],
    [{"name": "a", "kind": "openai"}],
    [{"name": "a", "kind": "openai", "header_files": {"x-key": TOKEN}}],
    [{"kind": "openai", "key_file": TOKEN}],
    [{**ACCOUNT, "unknown": 1}],
    [{**ACCOUNT, "headers": {"x-provider": "openai"}}],
    [{**ACCOUNT, "headers": {"Cookie": "a"}}],
    [{**ACCOUNT, "headers": {"x provider": "a"}}],
    [{**ACCOUNT, "header_files": {"x provider": TOKEN}}],
    [{**ACCOUNT, "base_url": "https://example.com:8443/v1/"}],
    [{**ACCOUNT, "base_url": "http://example.com/v1"}],
    [{**ACCOUNT, "base_url": "http://example.com/v1", "allow_http": True}],
    [{**ACCOUNT, "base_url": "http://localhost:9/v1"}],
    [{**ACCOUNT, "base_url": "http://[::1]:9"}],
    [{**ACCOUNT, "base_url": "http://localhost.example.com/v1"}],
    [{**ACCOUNT, "base_url": "https://me:secret@example.com/v1"}],
    [{**ACCOUNT, "base_url": "https://example.com/v1?key=secret"}],
    [{**ACCOUNT, "base_url": "ftp://example.com"}],
    [{**ACCOUNT, "auth": "basic"}],
    [{**ACCOUNT, "kind": "tinker", "auth": "x-api-key"}],
    [{**ACCOUNT, "kind": "tinker", "created_within_days": 7}],
    [{**ACCOUNT, "kind": "fireworks"}],
    [{**ACCOUNT, "kind": "fireworks", "base_url": "https://api.fireworks.ai/v1/accounts/a"}],
    [{**ACCOUNT, "interval_seconds": 0.05}],
    [{**ACCOUNT, "max_concurrency": 65}],
    [{**ACCOUNT, "created_within_days": 7, "page_size": 1}],
    [{**ACCOUNT, "created_after": 1767225600}],
    [{**ACCOUNT, "created_after": 1767225600000}],
    [{**ACCOUNT, "created_after": "2026-01-31T00:00:00Z"}],
    [{**ACCOUNT, "created_after": "2026-01-31T00:00:00+01:00"}],
    [{**ACCOUNT, "created_after": "2026-01-31T00:00:00"}],
    [{**ACCOUNT, "created_after": "yesterday"}],
]


@pytest.mark.parametrize("accounts", ACCOUNTS, ids=str)
def test_accounts_are_refused_as_by_the_poller(
    accounts: list[dict[str, Any]], tmp_path: Path
) -> None:
    """What the chart accepts, the program accepts, and the other way round."""
    path = tmp_path / "accounts.toml"
    path.write_text(f"accounts = {as_toml(accounts)}")
    try:
        expected = load_accounts(path)
    except ConfigError:
        with pytest.raises(Refused):
            render(**poll(*accounts))
    else:
        assert bridges.accounts(render(**poll(*accounts)), tmp_path) == expected
