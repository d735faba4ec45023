"""The service logs in by tokens, which end while it runs, on Kafka's own validators."""

from __future__ import annotations

import threading
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.ingest import start_ingest
from tests.support.oauth_kafka import SIGNED, UNSECURED, file_login, oauth_kafka, oidc_login
from tests.support.provider_server import KEY, ProviderServer
from tests.support.records import checkpoint, numbered_ids, scattered
from tests.support.token_server import (
    AUDIENCE,
    CLIENT_ID,
    CLIENT_SECRET,
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
    from tests.support.command_line import Finished
    from tests.support.service_process import Line, ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
REAUTH_MS = 30_000
SHORT_SECONDS = 16.0
BATCH = 5
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
    with oauth_kafka(provider, **{"connections.max.reauth.ms": str(REAUTH_MS)}) as broker:
        yield broker


@pytest.fixture
def usual(provider: TokenServer) -> Iterator[TokenServer]:
    """Return the identity provider. It behaves as usual before and after the test."""
    provider.requests.clear()
    yield provider
    provider.accept()
    provider.audience, provider.lifetime_seconds = AUDIENCE, 3600.0


@pytest.fixture(scope="module")
def cluster(kafka: LocalKafka) -> Cluster:
    """Return the broker, by its listener without a login."""
    return Cluster(kafka.bootstrap_servers)


class Load:
    """Produces checkpoints, a few at a time, and waits for the ready events of each batch."""

    def __init__(self, cluster: Cluster, deployment: Deployment) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self.ids: list[str] = []
        self.longest_seconds = 0.0

    def run(self, seconds: float) -> None:
        """Run for this time."""
        ends_at = time.monotonic() + seconds
        with self._cluster.subscriber(self._deployment.ready_topic) as subscriber:
            seen = len(self.ids)
            while time.monotonic() < ends_at:
                batch = numbered_ids(BATCH, f"round-{len(self.ids)}")
                begin = time.monotonic()
                self._cluster.produce(self._deployment.input_topic, scattered(batch))
                self.ids += batch
                seen = len(self.ids)
                wait_until(partial(_has_read, subscriber, seen), 30, what="the ready events")
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - begin)


def _has_read(subscriber: object, events: int) -> bool:
    subscriber.read_available()  # type: ignore[attr-defined]
    return len(subscriber.records) >= events  # type: ignore[attr-defined]


def complaints(service: ServiceProcess, lines: int = 0) -> list[Line]:
    """Return the lines of warnings and errors after the first `lines` lines."""
    return [line for line in service.lines[lines:] if line.get("level") in {"warning", "error"}]


def answer_slowly(_: TokenRequest) -> None:
    """Let the token endpoint take two seconds for an answer."""
    threading.Event().wait(2.0)


def assert_no_secret(text: str, provider: TokenServer) -> None:
    """Expect neither the client's secret nor a token in a text."""
    assert CLIENT_SECRET not in text
    for token in provider.tokens:
        assert token not in text
        assert token.rpartition(".")[2] not in text


def assert_refused(finished: Finished, *words: str, exit_code: int = 1) -> None:
    """Expect one line that says all this, and the exit code."""
    assert finished.exit_code == exit_code, finished.stderr
    missing = [word for word in words if word not in finished.complaint]
    assert not missing, (missing, finished.complaint)


def test_tokens_end_under_load(
    kafka: LocalKafka,
    usual: TokenServer,
    cluster: Cluster,
    names: Names,
    request: pytest.FixtureRequest,
) -> None:
    """Tokens of 20 s, on a broker that ends a session with its token, and a slow token endpoint.

    No shard restarts, no line warns, and each event is published once.
    """
    usual.lifetime_seconds = SHORT_SECONDS
    seconds = float(request.config.getoption("--token-seconds"))
    with Deployment(cluster, names) as deployment:
        service = deployment.start(**oidc_login(kafka, usual))
        deployment.wait_until_running(SHARDS, service)
        assert len(usual.requests) == 1  # all connections share one token
        usual.fault = answer_slowly
        lines = len(service.lines)
        load = Load(cluster, deployment)
        load.run(seconds)
        print(  # noqa: T201 - figures
            f"{seconds:.0f} s, {len(usual.requests)} tokens of {SHORT_SECONDS:.0f} s, "
            f"{len(load.ids)} events, longest latency {load.longest_seconds:.2f} s"
        )
        assert seconds / SHORT_SECONDS < len(usual.requests) < seconds / SHORT_SECONDS * 2 + 2
        assert_exactly_once(cluster, names, load.ids)
        assert complaints(service, lines) == []
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
        assert [line["event"] for line in complaints(service, lines)] == ["token_not_renewed"]
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
            assert complaints(service, lines) == []
            assert service.terminate() == 0
    finally:
        stop.set()
        renewing.join()


class TestRefusals:
    """Each problem of a token is one line, and the exit code of refused credentials."""

    @pytest.fixture
    def deployment(self, cluster: Cluster, names: Names) -> Iterator[Deployment]:
        """Return a deployment without a process."""
        with Deployment(cluster, names) as deployment:
            yield deployment

    @pytest.mark.parametrize("command", [("run",), ("topics", "check")])
    def test_an_expired_token(
        self,
        deployment: Deployment,
        kafka: LocalKafka,
        usual: TokenServer,
        tmp_path: Path,
        command: tuple[str, ...],
    ) -> None:
        """The broker refuses it; the line says when it ended."""
        token = tmp_path / "token"
        token.write_text(usual.sign(exp=int(time.time()) - 60))
        refused = deployment.run(*command, **file_login(kafka, SIGNED, token))
        assert_refused(refused, "refused the token", "expired 6", "SASL_OAUTHBEARER")
        assert token.read_text() not in refused.stdout + refused.stderr

    def test_a_wrong_audience(
        self, deployment: Deployment, kafka: LocalKafka, usual: TokenServer
    ) -> None:
        """The line names the audience that the token has."""
        usual.audience = "another-service"
        refused = deployment.run("run", **oidc_login(kafka, usual))
        assert_refused(refused, "refused the token", "audience 'another-service'")
        assert_no_secret(refused.stdout + refused.stderr, usual)

    def test_an_unsecured_token(
        self, deployment: Deployment, kafka: LocalKafka, tmp_path: Path
    ) -> None:
        """The broker wants a signature."""
        token = tmp_path / "token"
        token.write_text(unsecured(CLIENT_ID, 60.0))
        refused = deployment.run("topics", "check", **file_login(kafka, SIGNED, token))
        assert_refused(refused, "refused the token", "no audience")

    @pytest.mark.parametrize("status", [400, 401])
    def test_a_client_that_the_endpoint_refuses(
        self, deployment: Deployment, kafka: LocalKafka, usual: TokenServer, status: int
    ) -> None:
        """The line has the answer of the endpoint."""
        usual.refuse(status)
        refused = deployment.run("run", **oidc_login(kafka, usual))
        assert_refused(refused, f"answered {status} (invalid_client: no longer known)")
        assert_no_secret(refused.stdout + refused.stderr, usual)

    def test_a_wrong_secret(
        self, deployment: Deployment, kafka: LocalKafka, usual: TokenServer
    ) -> None:
        """The secret is not shown."""
        wrong = {"SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": "wrong horse"}
        refused = deployment.run("topics", "check", **oidc_login(kafka, usual, **wrong))
        assert_refused(refused, "answered 401 (invalid_client)", "its secret")
        assert "wrong horse" not in refused.stdout + refused.stderr

    def test_an_endpoint_that_is_not_there(self, deployment: Deployment, kafka: LocalKafka) -> None:
        """The line names its address, and does not blame the brokers."""
        with TokenServer() as gone:
            login = oidc_login(kafka, gone)
        refused = deployment.run("topics", "check", **login)
        assert_refused(refused, "the token endpoint", "cannot be reached")
        assert "BOOTSTRAP_SERVERS" not in refused.stderr

    def test_a_token_file_that_is_not_there(
        self, deployment: Deployment, kafka: LocalKafka, tmp_path: Path
    ) -> None:
        """That is an error of the configuration."""
        login = file_login(kafka, SIGNED, tmp_path / "token")
        refused = deployment.run("run", **login)
        assert_refused(refused, "SASL_OAUTHBEARER_TOKEN_FILE", "does not exist", exit_code=2)

    def test_an_empty_token_file(
        self, deployment: Deployment, kafka: LocalKafka, tmp_path: Path
    ) -> None:
        """Nothing has written it yet."""
        token = tmp_path / "token"
        token.touch()
        refused = deployment.run("topics", "check", **file_login(kafka, SIGNED, token))
        assert_refused(refused, f"the token file {token} is empty")


def test_every_command_logs_in(
    kafka: LocalKafka, usual: TokenServer, cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """Create topics, publish, replay, list, receive by HTTP, poll, and show the settings."""
    login = oidc_login(kafka, usual)
    with Deployment(cluster, names, create_topics=False, **login) as deployment:
        created = deployment.run("topics", "create")
        assert created.exit_code == 0, created.stderr
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        ids = numbered_ids(6)
        cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(cluster, names, ids)
        for command in (
            ("topics", "check"),
            ("replay", "--execute"),
            ("subscribers", "list"),
            ("config",),
            ("dead-letters", "list"),
        ):
            done = deployment.run(*command)
            assert done.exit_code == 0, (command, done.stderr, done.stdout)
            assert_no_secret(done.stdout + done.stderr, usual)
        receiver = start_ingest(deployment, tmp_path)
        assert receiver.post(checkpoint("by-http")).status < 300
        assert_exactly_once(cluster, names, [*ids, "by-http"])
        assert receiver.process.terminate() == 0
        assert_no_secret(str(receiver.process.lines), usual)
        (tmp_path / "key").write_text(KEY)
        accounts = tmp_path / "accounts.toml"
        with ProviderServer() as jobs:
            jobs.add_job(f"job-{uuid.uuid4().hex}", checkpoints=2)
            accounts.write_text(
                '[[accounts]]\nname = "acme"\nkind = "openai"\nkey_file = "key"\n'
                f'base_url = "{jobs.url}"\n'
            )
            polled = deployment.run("poll", "--once", "--config", str(accounts))
        assert polled.exit_code == 0, polled.stdout + polled.stderr
        assert_no_secret(polled.stdout + polled.stderr, usual)
        assert service.terminate() == 0
        assert_no_secret(str(service.lines), usual)


def test_a_projected_token_as_client_assertion(
    kafka: LocalKafka, usual: TokenServer, cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """The token of the pod proves the identity of the client; no secret is needed."""
    assertion = tmp_path / "token"
    assertion.write_text(unsecured("system:serviceaccount:a:b", 600.0))
    login = oidc_login(
        kafka,
        usual,
        SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET="",
        SASL_OAUTHBEARER_ASSERTION_FILE=assertion,
    )
    with Deployment(cluster, names) as deployment:
        checked = deployment.run("topics", "check", **login)
        assert checked.exit_code == 0, checked.stderr
        (request,) = usual.requests
        assert request.authorization == ""
        assert request.form["client_assertion"] == assertion.read_text()
        assert assertion.read_text() not in checked.stdout + checked.stderr
