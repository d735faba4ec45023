"""The runbook's table of faults that end the process has what the code does, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import io
import ssl
import urllib.error
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import errors as kafka_errors

from consumer.cli import run
from consumer.cli.main import main
from consumer.config import PREFIX
from consumer.errors import ClusterError, LoginRefused
from consumer.kafka.broker_settings import REPLICATION_SETTINGS, BrokerSettings
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.connection import translate
from consumer.kafka.client.private_client import BrokerUnreachable
from consumer.kafka.client.refusals import login_refusal
from consumer.kafka.client.token_provider import TokenLoginRefused, TokenProvider
from consumer.kafka.cluster_faults import GRACE_SECONDS, CurrentFault, Fault
from consumer.kafka.tokens.endpoint import TokenEndpoint
from consumer.worker.engine import RETRY_SECONDS, START_UP_SECONDS
from consumer.worker.fault_watch import FaultWatch
from consumer.worker.open_files import needs_of
from tests.support.fake_admin import FakeAdmin
from tests.support.fake_cluster import FakeCluster
from tests.support.fault_table import DocumentedFault, documented_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "kafka-1:9092"
TEXTS = {
    Fault.OPEN_FILES: "[Errno 24] Too many open files",
    Fault.CLOSED_AT_ONCE: "the broker closed the connection before its first answer",
}
# The call in which a broker states an error at once. Any other call may find a missing right.
CALLS = {
    kafka_errors.InvalidTransactionTimeout: "fence",
    kafka_errors.InvalidSessionTimeoutError: "membership",
    kafka_errors.InvalidTimestampError: "send",
}


class Brokers(FakeAdmin):
    """A broker that cannot create the topics of the coordinators."""

    async def broker_settings(self) -> BrokerSettings:
        """Return its settings."""
        return BrokerSettings(
            1, dict.fromkeys(REPLICATION_SETTINGS.values(), "3"), frozenset(REPLICATION_SETTINGS)
        )


def refusal_of_the_endpoint() -> Exception:
    """Return the error for a client that the identity provider does not accept."""
    answer = urllib.error.HTTPError("", 401, "", Message(), io.BytesIO())
    return TokenEndpoint("https://id.example/token", "")._refusal(answer, ())  # noqa: SLF001


def refused_logins() -> list[Exception]:
    """Return an error of each kind of refused login."""
    untrusted = ssl.SSLCertVerificationError("untrusted")
    untrusted.verify_message = "self-signed certificate"
    refused = ssl.SSLError(1, "refused")
    refused.reason = "TLSV1_ALERT_UNKNOWN_CA"
    provider = TokenProvider(None, {})  # type: ignore[arg-type]  # no token is read
    return [
        kafka_errors.SaslAuthenticationFailed("no"),
        provider.refusal("invalid_token"),
        TokenLoginRefused(str(refusal_of_the_endpoint())),
        untrusted,
        refused,
    ]


def lasting_faults() -> Iterator[CurrentFault]:
    """Yield each kind of fault, at the moment when it is no longer temporary."""
    for kind in Fault:
        if kind is Fault.LOGIN:
            for error in refused_logins():
                yield CurrentFault(kind, NAME, login_refusal(error) or "", GRACE_SECONDS)
        else:
            yield CurrentFault(kind, NAME, TEXTS.get(kind, "the text"), GRACE_SECONDS)


def ends_process(fault: CurrentFault) -> ClusterError | None:
    """Return the error by which a lasting fault ends the process, if it does."""
    watch = FaultWatch(Brokers(FakeCluster()), lambda: needs_of(24, 1), lambda: 0.0)
    try:
        asyncio.run(watch.check([fault]))
    except ClusterError as error:
        return error
    return None


def broker_errors() -> Iterator[Exception]:
    """Yield an error of each class of the library."""
    kinds: list[Any] = [kind for _, kind in inspect.getmembers(kafka_errors, inspect.isclass)]
    for kind in kinds:
        is_base = kind is kafka_errors.BrokerResponseError  # it cannot be shown
        if issubclass(kind, kafka_errors.KafkaError) and not is_base:
            yield kind("events")


def stated_at_once() -> list[ClusterError]:
    """Return what an operator must fix, for every error of the library that says so."""
    found = [
        translate(error, CALLS.get(type(error), "describe topics")) for error in broker_errors()
    ]
    return [it for it in found if isinstance(it, ClusterError) and not isinstance(it, LoginRefused)]


def failed_starts() -> list[Exception]:
    """Return the errors of a start without brokers, and with brokers that cannot be reached."""
    unreachable = BrokerUnreachable(
        f"broker 1 cannot be reached at {NAME}, its address in advertised.listeners (refused)"
    )
    return [translate(unreachable, "describe the cluster"), asyncio.run(start_without_brokers())]


async def start_without_brokers() -> ClusterError:
    """Return the error of a start while the first server cannot be reached."""
    admin: Any = KafkaAdmin.__new__(KafkaAdmin)

    class Client:
        async def start(self) -> None:
            raise kafka_errors.KafkaConnectionError("refused")

    class Connection:
        bootstrap_servers = NAME

    admin._client, admin._connection = Client(), Connection()  # noqa: SLF001 - no network
    with pytest.raises(ClusterError) as raised:
        await admin.start()
    return raised.value


def row_of(line: str) -> str:
    """Return the name of the only row that has this line."""
    (name,) = [name for name, row in documented_faults().items() if row.matches(line)] or [line]
    return name


def test_every_row_is_an_error_of_the_code_and_every_error_has_its_row() -> None:
    """A fault that lasts, one that the broker states at once, or one of the start."""
    lasting = [error for fault in lasting_faults() if (error := ends_process(fault))]
    every = [*lasting, *stated_at_once(), *failed_starts()]
    assert {row_of(str(error)) for error in every} == documented_faults().keys()


def test_the_time_of_a_fault_is_that_of_the_code() -> None:
    """Faults that may be temporary have the grace; a start has its own limit."""
    rows = documented_faults()
    for fault in lasting_faults():
        if error := ends_process(fault):
            assert rows[row_of(str(error))].after.startswith(f"{GRACE_SECONDS:.0f} s")
    for error in stated_at_once():
        assert rows[row_of(str(error))].after == "At once"
    limit = START_UP_SECONDS + RETRY_SECONDS
    assert rows["Broker unreachable"].after.startswith(f"{limit:.0f} s")


@pytest.mark.parametrize("row", documented_faults().values(), ids=documented_faults().keys())
def test_the_exit_code_of_a_row_is_that_of_the_command(
    row: DocumentedFault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` ends with the exit code of the error, and with its text as the last line."""
    lasting = filter(None, map(ends_process, lasting_faults()))
    every = [*lasting, *stated_at_once(), *failed_starts()]
    error = next(it for it in every if row.matches(str(it)))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(run, "run_service", fail)
    monkeypatch.setenv(f"{PREFIX}GROUP_ID", "group")
    assert main(["run"]) == row.exit_code
    assert capsys.readouterr().err.splitlines()[-1].endswith(str(error))
