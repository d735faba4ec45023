"""The service logs in by tokens, which end while it runs, on Kafka's own validators."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.http_client import start_observed
from tests.support.load import Load
from tests.support.oauth_kafka import (
    UNSECURED,
    assert_no_secret,
    file_login,
    oauth_kafka,
    oidc_login,
)
from tests.support.token_server import (
    CLIENT_ID,
    Answer,
    TokenRequest,
    TokenServer,
    unsecured,
)
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev.kafka import LocalKafka
    from tests.support.topics import Names

SHARDS = 3
REAUTH_MS = 30_000
SHORT_SECONDS = 16.0
LOAD_SECONDS = 35.0  # `make logins` takes minutes
# On a busy machine. A connection that the broker cuts costs a shard restart, which is seen anyway.
LONGEST_SECONDS = 5.0
pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("local_brokers")]


@pytest.fixture(scope="module")
def provider() -> Iterator[TokenServer]:
    """Run the identity provider."""
    with TokenServer() as server:
        yield server


@pytest.fixture(scope="module")
def kafka(provider: TokenServer) -> Iterator[LocalKafka]:
    """Run a broker that ends a session after half a minute, or with its token."""
    reauth: dict[str, Any] = {"connections.max.reauth.ms": str(REAUTH_MS)}
    with oauth_kafka(provider, **reauth) as broker:
        yield broker


@pytest.fixture
def usual(provider: TokenServer) -> Iterator[TokenServer]:
    """Return the identity provider. It behaves as usual before and after the test."""
    with provider.as_usual():
        yield provider


@pytest.fixture(scope="module")
def cluster(kafka: LocalKafka) -> Cluster:
    """Return the broker, by its listener without a login."""
    return Cluster(kafka.bootstrap_servers)


def answer_slowly(_: TokenRequest) -> None:
    """Let the token endpoint take two seconds for an answer."""
    threading.Event().wait(2.0)


def test_all_connections_share_one_token(
    kafka: LocalKafka, usual: TokenServer, cluster: Cluster, names: Names
) -> None:
    """A process that starts sends one request to the token endpoint. Gauges show its life."""
    with Deployment(cluster, names) as deployment:
        service, _ = observed = start_observed(deployment, **oidc_login(kafka, usual))
        deployment.wait_until_running(SHARDS, service)
        assert len(usual.requests) == 1
        left, lifetime = (
            observed.metric(f"token_{name}_seconds") or 0.0 for name in ("remaining", "lifetime")
        )
        assert 3000 < left < lifetime <= 3600
        assert service.terminate() == 0


def test_tokens_end_under_load(
    kafka: LocalKafka,
    usual: TokenServer,
    cluster: Cluster,
    names: Names,
) -> None:
    """Tokens of seconds, on a broker that ends a session with its token, and a slow token endpoint.

    No shard restarts, no line warns, and each event is published once.
    """
    usual.lifetime_seconds = SHORT_SECONDS
    with Deployment(cluster, names) as deployment:
        service = deployment.start(**oidc_login(kafka, usual))
        deployment.wait_until_running(SHARDS, service)
        usual.fault = answer_slowly
        lines = len(service.lines)
        load = Load(cluster, deployment)
        load.run(LOAD_SECONDS)
        print(  # noqa: T201 - figures
            f"{LOAD_SECONDS:.0f} s, {len(usual.requests)} tokens of {SHORT_SECONDS:.0f} s, "
            f"{len(load.ids)} events, longest latency {load.longest_seconds:.2f} s"
        )
        renewals = LOAD_SECONDS / SHORT_SECONDS
        assert renewals < len(usual.requests) < renewals * 2 + 2
        assert_exactly_once(cluster, names, load.ids)
        assert service.complaints(after=lines) == []
        assert load.longest_seconds < LONGEST_SECONDS
        assert service.terminate() == 0
        assert_no_secret(str(service.lines), usual)


def test_a_token_endpoint_that_is_away_is_retried(
    kafka: LocalKafka, usual: TokenServer, cluster: Cluster, names: Names
) -> None:
    """While the present token is valid, the service says once that it is not renewed, and runs."""
    usual.lifetime_seconds = SHORT_SECONDS
    with Deployment(cluster, names) as deployment:
        service = deployment.start(**oidc_login(kafka, usual))
        deployment.wait_until_running(SHARDS, service)
        lines = len(service.lines)
        usual.fault = lambda _: Answer(503, b"", delay_seconds=0.1)
        load = Load(cluster, deployment)
        line = service.wait_for_log("token_not_renewed", after=lines)
        assert "answered 503" in line["error"]
        assert line["valid_seconds"] > 0
        wait_until(lambda: len(usual.requests) >= 4, what="more attempts")
        load.run(1)
        usual.accept()
        service.wait_for_log("token_renewed", after=lines)
        load.run(SHORT_SECONDS / 2)
        assert_exactly_once(cluster, names, load.ids)
        assert [line["event"] for line in service.complaints(after=lines)] == ["token_not_renewed"]
        assert service.terminate() == 0


def test_a_client_that_is_revoked_while_the_service_runs(
    kafka: LocalKafka, usual: TokenServer, cluster: Cluster, names: Names
) -> None:
    """It says so at once, and again at the end of the token; it recovers without a restart."""
    usual.lifetime_seconds = 8.0
    with Deployment(cluster, names) as deployment:
        service = deployment.start(**oidc_login(kafka, usual))
        deployment.wait_until_running(SHARDS, service)
        lines = len(service.lines)
        load = Load(cluster, deployment)
        load.run(1)
        usual.refuse(401)
        line = service.wait_for_log("token_not_renewed", after=lines)
        assert "answered 401 (invalid_client: no longer known)" in line["error"]
        line = service.wait_for_log("token_ended", after=lines)
        assert "answered 401 (invalid_client: no longer known)" in line["error"]
        usual.lifetime_seconds = 3600.0
        usual.accept()
        service.wait_for_log("token_renewed", after=lines)
        load.run(1)
        assert_exactly_once(cluster, names, load.ids)
        said = [line["event"] for line in service.lines if line["event"].startswith("token_")]
        assert said == ["token_not_renewed", "token_ended", "token_renewed"]
        assert service.terminate() == 0
        assert_no_secret(str(service.lines), usual)


def test_unsecured_tokens_in_a_file(
    kafka: LocalKafka, cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """A file that something else renews, as the kubelet does, with Kafka's unsecured validator."""
    token = tmp_path / "token"
    stop = threading.Event()

    def renew() -> None:
        while True:
            new = tmp_path / "token.new"
            new.write_text(unsecured(CLIENT_ID, 10.0) + "\n")
            new.rename(token)
            if stop.wait(8.0):
                return

    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    wait_until(token.exists)
    try:
        with Deployment(cluster, names) as deployment:
            service = deployment.start(**file_login(kafka, UNSECURED, token))
            deployment.wait_until_running(SHARDS, service)
            lines = len(service.lines)
            load = Load(cluster, deployment)
            load.run(24)
            assert_exactly_once(cluster, names, load.ids)
            assert service.complaints(after=lines) == []
            assert service.terminate() == 0
    finally:
        stop.set()
        renewing.join()
