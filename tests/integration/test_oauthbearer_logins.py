"""Logins by tokens on Kafka's own validators: each way to get a token, and each refusal."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_operator_faults import assert_ends
from tests.integration.tuned_service import tuned
from tests.support.client_assertions import AssertionVerifier, private_key
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.ingest import start_ingest
from tests.support.oauth_kafka import (
    EXTENDED,
    EXTENSIONS,
    SIGNED,
    assert_no_secret,
    file_login,
    key_login,
    oauth_kafka,
    oidc_login,
    own_login,
)
from tests.support.own_tokens import FAILS, NOT_A_DICT, RESERVED
from tests.support.provider_server import KEY, ProviderServer
from tests.support.records import checkpoint, numbered_ids, scattered
from tests.support.token_server import CLIENT_ID, CLIENT_SECRET, TokenServer, unsecured
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev.kafka import LocalKafka
    from tests.support.command_line import Finished
    from tests.support.topics import Names

SHARDS = 3
SHORT_SECONDS = 6.0
GRACE_SECONDS = 5.0  # instead of a minute
PAIR = f"{CLIENT_ID}:{CLIENT_SECRET}"
pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("local_brokers")]


@pytest.fixture(scope="module")
def provider() -> Iterator[TokenServer]:
    """Run the identity provider."""
    with TokenServer() as server:
        yield server


@pytest.fixture(scope="module")
def kafka(provider: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Run a broker that ends a session with its token. One of its listeners needs extensions."""
    folder = tmp_path_factory.mktemp("validators")
    reauth = {"connections.max.reauth.ms": "3600000"}
    with oauth_kafka(provider, validators=folder, **reauth) as broker:
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


@pytest.fixture
def deployment(cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """Return a deployment without a process."""
    with Deployment(cluster, names) as made:
        yield made


def assert_refused(finished: Finished, *words: str, exit_code: int = 1) -> None:
    """Expect one line that says all this, and the exit code."""
    assert finished.exit_code == exit_code, finished.stderr
    missing = [word for word in words if word not in finished.complaint]
    assert not missing, (missing, finished.complaint)


class TestRefusals:
    """Each problem of a token is one line, and the exit code of refused credentials."""

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
        token.write_text(usual.sign(exp=int(time.time()) - 3600))
        refused = deployment.run(*command, **file_login(kafka, SIGNED, token))
        assert_refused(refused, "refused the token", "expired 36", "SASL_OAUTHBEARER")
        assert token.read_text() not in refused.stdout + refused.stderr

    @pytest.mark.parametrize("command", [("run",), ("topics", "check")])
    def test_a_wrong_audience(
        self,
        deployment: Deployment,
        kafka: LocalKafka,
        usual: TokenServer,
        command: tuple[str, ...],
    ) -> None:
        """The line names the audience that the token has."""
        usual.audience = "another-service"
        refused = deployment.run(*command, **oidc_login(kafka, usual))
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

    @pytest.mark.parametrize("command", [("run",), ("topics", "check")])
    def test_an_empty_token_file(
        self, deployment: Deployment, kafka: LocalKafka, tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        """Nothing has written it yet."""
        token = tmp_path / "token"
        token.touch()
        refused = deployment.run(*command, **file_login(kafka, SIGNED, token))
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


def test_a_private_key_as_client_assertion(
    deployment: Deployment, kafka: LocalKafka, usual: TokenServer, tmp_path: Path
) -> None:
    """The identity provider verifies each assertion by the registered key, and once only."""
    key = private_key(tmp_path, "RS256")
    verifier = usual.assertions = AssertionVerifier(CLIENT_ID, key, usual.token_url)
    usual.lifetime_seconds = SHORT_SECONDS
    service = deployment.start(**key_login(kafka, usual, key, "RS256"))
    deployment.wait_until_running(SHARDS, service)
    lines = len(service.lines)  # a new broker has no coordinator at first
    wait_until(lambda: verifier.accepted >= 2, what="a renewed token")
    ids = numbered_ids(6)
    deployment.cluster.produce(deployment.input_topic, scattered(ids))
    assert_exactly_once(deployment.cluster, deployment.names, ids)
    assert service.complaints(after=lines) == []
    assert service.terminate() == 0
    for request in usual.requests:
        assert request.authorization == ""
        assert request.form["client_assertion"] not in str(service.lines)
    assert_no_secret(str(service.lines), usual)


def test_a_private_key_that_is_not_registered(
    deployment: Deployment, kafka: LocalKafka, usual: TokenServer, tmp_path: Path
) -> None:
    """The line has the answer of the identity provider, and no assertion."""
    (tmp_path / "other").mkdir()
    registered, other = (private_key(folder, "ES256") for folder in (tmp_path, tmp_path / "other"))
    usual.assertions = AssertionVerifier(CLIENT_ID, registered, usual.token_url)
    checked = deployment.run("topics", "check", **key_login(kafka, usual, registered, "ES256"))
    assert checked.exit_code == 0, checked.stderr
    refused = deployment.run("topics", "check", **key_login(kafka, usual, other, "ES256"))
    assert_refused(refused, "answered 401", "the signature does not fit the registered key")
    assert usual.requests[-1].form["client_assertion"] not in refused.stderr
    assert_no_secret(refused.stdout + refused.stderr, usual)


class TestExtensions:
    """The listener accepts a login only with two extensions, as Confluent Cloud does."""

    def test_they_are_sent(
        self, deployment: Deployment, kafka: LocalKafka, usual: TokenServer
    ) -> None:
        """Those of the settings; also with each renewed login."""
        usual.lifetime_seconds = SHORT_SECONDS
        login = extended_login(kafka, usual, EXTENSIONS)
        service = deployment.start(**login)
        deployment.wait_until_running(SHARDS, service)
        lines = len(service.lines)  # a new broker has no coordinator at first
        wait_until(lambda: len(usual.requests) >= 2, what="renewed tokens")
        ids = numbered_ids(6)
        deployment.cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(deployment.cluster, deployment.names, ids)
        assert service.complaints(after=lines) == []
        assert service.terminate() == 0

    @pytest.mark.parametrize(
        ("extensions", "words"),
        [
            ({}, ["logicalCluster: missing", "identityPoolId: missing"]),
            (EXTENSIONS | {"logicalCluster": "lkc-2"}, ["logicalCluster: unknown"]),
        ],
    )
    def test_the_answer_of_the_broker_is_shown(
        self,
        deployment: Deployment,
        kafka: LocalKafka,
        usual: TokenServer,
        extensions: dict[str, str],
        words: list[str],
    ) -> None:
        """The line says what the broker refused."""
        refused = deployment.run("topics", "check", **extended_login(kafka, usual, extensions))
        assert_refused(refused, "refused the token", *words)

    def test_more_of_them_do_no_harm(
        self, deployment: Deployment, kafka: LocalKafka, usual: TokenServer
    ) -> None:
        """Kafka's own validator accepts each extension."""
        login = oidc_login(kafka, usual, SASL_OAUTHBEARER_EXTENSIONS=joined(EXTENSIONS))
        checked = deployment.run("topics", "check", **login)
        assert checked.exit_code == 0, checked.stderr


def joined(extensions: dict[str, str]) -> str:
    """Return extensions as the setting has them."""
    return ",".join(f"{name}={value}" for name, value in extensions.items())


def extended_login(
    kafka: LocalKafka, provider: TokenServer, extensions: dict[str, str]
) -> dict[str, Any]:
    """Return the variables of a service at the listener that needs extensions."""
    return oidc_login(
        kafka,
        provider,
        BOOTSTRAP_SERVERS=kafka.listener(EXTENDED),
        SASL_OAUTHBEARER_EXTENSIONS=joined(extensions),
    )


class TestAClassOfTheUser:
    """`module:Class` gets tokens and extensions, with options that the service does not know."""

    @pytest.fixture
    def fault(self, usual: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Set the options. Return the file that makes its extensions fail."""
        fault = tmp_path / "fault"
        monkeypatch.setenv("OWN_TOKENS_URL", usual.token_url)
        monkeypatch.setenv("OWN_TOKENS_PAIR", PAIR)
        monkeypatch.setenv("OWN_TOKENS_FAULT", str(fault))
        return fault

    def test_it_serves_while_tokens_end(
        self, deployment: Deployment, kafka: LocalKafka, usual: TokenServer, fault: Path
    ) -> None:
        """Its extensions fail for a while. Logins are repeated, no shard restarts, all recovers."""
        usual.lifetime_seconds = SHORT_SECONDS
        service = deployment.start(**own_login(kafka, EXTENDED))
        deployment.wait_until_running(SHARDS, service)
        lines = len(service.lines)
        fault.write_text(FAILS)
        said = wait_until(
            lambda: [line for line in service.complaints(after=lines) if "extensions" in str(line)],
            what="a warning",
        )
        fault.unlink()
        assert "RuntimeError: no extensions for ********" in str(said[0])
        requests = len(usual.requests)
        wait_until(lambda: len(usual.requests) >= requests + 2, 40, what="renewed tokens")
        ids = numbered_ids(6)
        deployment.cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(deployment.cluster, deployment.names, ids)
        assert not service.logged("task_failed")
        assert service.terminate() == 0
        assert_no_secret(str(service.lines), usual)

    @pytest.mark.parametrize(
        "case",
        [
            (FAILS, "RuntimeError: no extensions for ********"),
            (NOT_A_DICT, "extensions() returned list instead of dict"),
            (RESERVED, "extensions() returned the name auth, which is reserved"),
        ],
    )
    def test_extensions_that_cannot_be_sent(
        self,
        deployment: Deployment,
        kafka: LocalKafka,
        usual: TokenServer,
        fault: Path,
        case: tuple[str, str],
    ) -> None:
        """The line says what is wrong with the class, without its options."""
        text, words = case
        fault.write_text(text)
        refused = deployment.run("topics", "check", **own_login(kafka, EXTENDED))
        assert_refused(refused, words)
        assert_no_secret(refused.stdout + refused.stderr, usual)


def test_a_revoked_client_ends_the_process(
    deployment: Deployment, kafka: LocalKafka, usual: TokenServer
) -> None:
    """After the end of its token and the grace there is one line, and the exit code 1."""
    usual.lifetime_seconds = SHORT_SECONDS
    service = deployment.start(
        command=tuned(kafka__cluster_faults__GRACE_SECONDS=GRACE_SECONDS),
        **oidc_login(kafka, usual),
    )
    deployment.wait_until_running(SHARDS, service)
    lines = len(service.lines)
    usual.refuse(401)
    service.wait_for_log("token_ended", after=lines)
    ended = assert_ends("Token not given", service, "token_ended")
    assert "answered 401 (invalid_client: no longer known)" in ended.line
    assert ended.seconds > GRACE_SECONDS / 2
    assert_no_secret(str(service.lines), usual)
