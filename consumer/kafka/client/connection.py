"""Connection options, calls with a time limit, and the translation of aiokafka's errors."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, Final, Self, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka_errors

from consumer.config import Settings
from consumer.errors import (
    CheckpointReadyError,
    ClusterError,
    Fenced,
    LoginRefused,
    TaskFailed,
    TimedOut,
    TransientError,
)
from consumer.kafka.client import private_api, private_client
from consumer.kafka.client.refusals import causes_of, login_refusal, setting_refusal
from consumer.kafka.client.tls import RenewableContext, TlsFiles
from consumer.kafka.client.token_provider import NoToken, TokenProvider
from consumer.kafka.tokens import TokenLife

T = TypeVar("T")

private_client.install()

OAUTHBEARER: Final = "OAUTHBEARER"
REQUEST_TIMEOUT_MS: Final = 10_000
RETRY_BACKOFF_MS: Final = 50
CLOSE_SECONDS: Final = 2.0
FENCING_ERRORS: Final = (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch)

# The ACL operation that a refused call needs. The keys are values of `what` in ``translate``.
TOPIC_OPERATIONS: Final = {
    "describe topics": "Describe, or Read or Write, which imply it (see `checkpoint-ready acls`),",
    "describe topic settings": "DescribeConfigs",
    "describe producers": "Read",
    "ask for leader epochs": "Describe",
    "fetch": "Read",
    "list offsets": "Read",
    "send": "Write",
    "commit": "Write",
    "trim": "Delete",
    "delete topics": "Delete",
    "ask for a topic setting": "AlterConfigs",
}


class Connection(msgspec.Struct, frozen=True):
    """The arguments that every aiokafka client of this process shares."""

    servers: private_client.BootstrapServers
    options_for_all: dict[str, Any]
    rack: str = ""
    """The rack whose replicas are read (KIP-392); empty: the leaders are read."""

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of the bootstrap servers, for messages."""
        return ",".join(self.servers)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the connection that the settings describe.

        Raises:
            ConfigError: a certificate or key file, or the source of the tokens, cannot be used.
        """
        security: dict[str, Any] = {"security_protocol": settings.security_protocol}
        is_sasl = settings.security_protocol.startswith("SASL")
        if is_sasl and settings.sasl_mechanism == OAUTHBEARER:
            security["sasl_mechanism"] = OAUTHBEARER
            security["sasl_oauth_token_provider"] = TokenProvider.of(settings)
        elif is_sasl:
            security["sasl_mechanism"] = settings.sasl_mechanism
            security["sasl_plain_username"] = settings.sasl_username
            # The library wants a password here. Each connection reads the current one.
            security["sasl_plain_password"] = settings.sasl_password.reveal()
        if settings.security_protocol.endswith("SSL"):
            security["ssl_context"] = RenewableContext(TlsFiles.of(settings))
        servers = private_client.BootstrapServers(
            settings.bootstrap_servers.split(","),
            keepalive_seconds=settings.tcp_keepalive_seconds,
            password=settings.sasl_password.reveal,
        )
        shared = security | {"connections_max_idle_ms": settings.connections_max_idle_ms}
        return cls(servers, shared, settings.client_rack)

    def token_life(self) -> TokenLife | None:
        """Return how long the token of the logins is valid, if there is one."""
        provider = self.options_for_all.get("sasl_oauth_token_provider")
        return provider.life() if isinstance(provider, TokenProvider) else None

    def options(self, client_id: str) -> dict[str, Any]:
        """Return the arguments of one client; the brokers' logs show its ``client_id``."""
        return {
            "bootstrap_servers": self.servers,
            "client_id": client_id,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
            **self.options_for_all,
        }


async def bounded(call: Awaitable[T], seconds: float, what: str) -> T:
    """Await ``call`` for at most ``seconds``.

    aiokafka waits forever for a broker that does not answer. So each call to aiokafka has a limit.

    Raises:
        TimedOut: it did not return in time; its outcome is unknown.
        TaskFailed: the library cancelled it, which must not look like the end of the caller.
    """
    task = asyncio.ensure_future(call)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise TimedOut(f"{what} did not answer within {seconds:g} s")
    if task.cancelled():
        raise TaskFailed(f"{what} was cancelled by the client library")
    return task.result()


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer within a time limit, because a broker may never answer its requests.

    ``stop()`` may raise CancelledError and leave the consumer's client open. So close that too.
    """
    stop = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stop], timeout=CLOSE_SECONDS)
    if not stop.done():
        stop.cancel()
    elif not stop.cancelled():
        stop.exception()
    await close_client(private_api.consumer_client(consumer).close(), "closing")


async def stop_sender(producer: AIOKafkaProducer) -> None:
    """End the sending of a producer within a time limit, without waiting for its deliveries.

    Its connections stay open; close them by ``close_client``.
    """
    task = private_api.abandon_producer(producer)
    if task is not None:
        # After the first cancel the task waits for its requests. The second cancels them too.
        for _ in range(2):
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_SECONDS / 4)
        if task.done() and not task.cancelled():
            task.exception()


async def close_client(closing: Awaitable[None], what: str) -> None:
    """Await the ``close()`` of a client, which ends its connections, within a time limit."""
    with contextlib.suppress(TaskFailed):
        await bounded(closing, CLOSE_SECONDS, what)


def translate(error: BaseException, what: str) -> CheckpointReadyError:
    """Return the service's error for an error of aiokafka. The returned class names the recovery.

    `what` is the failed call, for the error text and the name of a missing ACL.
    """
    if isinstance(error, CheckpointReadyError):
        return error
    for cause in (error, *causes_of(error)):
        if isinstance(cause, FENCING_ERRORS):
            return Fenced(f"{what}: another producer with this transactional id took over")
        refusal = login_refusal(cause)
        if refusal is not None:
            return LoginRefused(f"{what}: {refusal}")
        refusal = _refusal(cause, what)
        if refusal is not None:
            return ClusterError(f"{what}: {refusal}")
    if isinstance(error, kafka_errors.KafkaConnectionError):
        return TransientError(f"{what}: {_brief(error)}")
    return TaskFailed(f"{what}: {_brief(error)}")


def _refusal(error: BaseException, what: str) -> str | None:
    """Return what an operator must fix, or None if the cluster did not refuse the call."""
    refusal = setting_refusal(error)
    if refusal is not None:
        return refusal
    grant = _missing_acl(error, what)
    return None if grant is None else f"missing ACL: grant {grant}"


def _missing_acl(error: BaseException, what: str) -> str | None:
    subject = _subject(error)
    if isinstance(error, kafka_errors.TopicAuthorizationFailedError):
        return f"{TOPIC_OPERATIONS.get(what, 'Read, Write and Describe')} on topic {subject}"
    if isinstance(error, kafka_errors.GroupAuthorizationFailedError):
        return f"Read on group {subject}"
    if isinstance(error, kafka_errors.TransactionalIdAuthorizationFailed):
        return f"Write on transactional id {subject}"
    if isinstance(error, kafka_errors.ClusterAuthorizationFailedError):
        return "the operation on the cluster (Create, for CREATE_TOPICS)"
    return None


def _subject(error: BaseException) -> str:
    subject = error.args[0] if error.args else "(not named by the broker)"
    if hasattr(subject, "topic"):
        return str(subject.topic)
    if isinstance(subject, set | frozenset | list | tuple):
        return ", ".join(sorted(map(str, subject)))
    return str(subject)


def _brief(error: BaseException) -> str:
    """Return name and text of the error and of its root cause, in one line.

    The library's error may only be "Unexpected error during batch delivery". Its root cause is then
    the error that the broker returned.
    """
    if isinstance(error, private_client.BrokerUnreachable):
        return str(error)  # it is written for an operator, and names its cause
    causes = causes_of(error)
    for cause in (error, *causes):
        if isinstance(cause, NoToken):
            return f"no token for the login: {cause}"
    texts = [_named(each) for each in (error, *causes[-1:])]
    return f"{texts[0]} (by {texts[1]})" if len(texts) > 1 else texts[0]


def _named(error: BaseException) -> str:
    text = str(error)
    name = type(error).__name__
    return text if text.startswith(name) else f"{name}: {text}" if text else name
