"""One run: brokers that end logins, a service, a steady load, and the figures."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.logins.counted_service import ENDING, EVENT, MODULE
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.oauth_kafka import assert_no_secret, oauth_kafka, oidc_login
from tests.support.paced_sender import PacedSender, append_times, pauses_by_shard
from tests.support.secured_kafka import Acl, SecuredKafka
from tests.support.token_server import TokenServer
from tests.support.topics import Names
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service_process import ServiceProcess

SHARDS = 3
OAUTHBEARER, SCRAM = "oauthbearer", "scram"
LONG_TOKEN_SECONDS = 3600.0
READ_SECONDS = 5.0
EVERYTHING = [Acl(kind, "*", "ALL") for kind in ("TOPIC", "GROUP", "TRANSACTIONAL_ID")]


class Order(NamedTuple):
    """What to measure."""

    seconds: float
    login: str = OAUTHBEARER
    reauth_seconds: float = 30.0
    """`connections.max.reauth.ms` of the broker; 0: no limit, and tokens of an hour."""
    token_seconds: float = 40.0
    is_ending: bool = False
    """Whether connections log in only once, as those of the library do."""
    records_per_second: float = 30.0


class Figures(NamedTuple):
    """What was measured, from the moment when all shards run to the end of the load."""

    events: int
    longest_gaps: dict[int, float]
    """The longest time (s) between two ready events, by shard."""
    shard_restarts: int
    tokens: int
    logins: int
    """Logins of new connections."""
    renewed_logins: int
    errors: int
    warnings: int
    complaints: tuple[str, ...]
    """The different errors and warnings."""


class _Secured(NamedTuple):
    cluster: Cluster
    login: dict[str, Any]
    provider: TokenServer | None


def run(order: Order) -> Figures:
    """Run what was asked for.

    Raises:
        AssertionError: an event was lost or published twice, or a log line has a token.
    """
    names = Names(f"logins-{uuid.uuid4().hex[:8]}")
    with (
        tempfile.TemporaryDirectory(prefix="checkpoint-ready-logins-") as folder,
        _secured(order, Path(folder)) as secured,
        Deployment(secured.cluster, names, input_partitions=SHARDS) as deployment,
    ):
        append_times(secured.cluster, deployment.ready_topic)
        command = [MODULE, ENDING] if order.is_ending else [MODULE]
        service = deployment.start(command=command, **secured.login)
        deployment.wait_until_running(SHARDS, service)
        before = len(service.lines)
        tokens = len(secured.provider.requests) if secured.provider else 0
        sender = PacedSender(
            secured.cluster,
            deployment.input_topic,
            SHARDS,
            records_per_second=order.records_per_second,
        )
        with sender:
            _wait(order.seconds, service)
        lines = len(service.lines)
        assert_exactly_once(secured.cluster, names, sender.sent)
        gaps = pauses_by_shard(secured.cluster, deployment.ready_topic, SHARDS)
        if secured.provider is not None:
            tokens = len(secured.provider.requests) - tokens
            assert_no_secret(str(service.lines), secured.provider)
        return _figures(service.lines[before:lines], len(sender.sent), gaps, tokens)


def _wait(seconds: float, service: ServiceProcess) -> None:
    """Wait, and read the log meanwhile."""
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        assert not service.has_ended, service.tail()
        threading.Event().wait(min(left, READ_SECONDS))


def _figures(
    lines: list[dict[str, Any]], events: int, gaps: dict[int, float], tokens: int
) -> Figures:
    logins = [line["renewed"] for line in lines if line.get("event") == EVENT]
    levels = [line.get("level") for line in lines]
    texts = [
        " ".join(str(line.get(name, "")) for name in ("event", "message", "error")).strip()
        for line in lines
        if line.get("level") in {"warning", "error"}
    ]
    return Figures(
        events=events,
        longest_gaps=gaps,
        shard_restarts=sum(line.get("event") == "task_failed" for line in lines),
        tokens=tokens,
        logins=logins.count(False),
        renewed_logins=logins.count(True),
        errors=levels.count("error"),
        warnings=levels.count("warning"),
        complaints=tuple(sorted(set(texts))),
    )


@contextlib.contextmanager
def _secured(order: Order, folder: Path) -> Iterator[_Secured]:
    limit: dict[str, Any] = {}
    if order.reauth_seconds:
        limit["connections.max.reauth.ms"] = str(round(order.reauth_seconds * 1000))
    if order.login == SCRAM:
        broker = SecuredKafka(folder, **limit)
        with broker.kafka:
            broker.add_user("service", EVERYTHING)
            yield _Secured(broker.cluster(), broker.login("service"), None)
        return
    lifetime = order.token_seconds if order.reauth_seconds else LONG_TOKEN_SECONDS
    with TokenServer(lifetime) as provider, oauth_kafka(provider, **limit) as kafka:
        yield _Secured(Cluster(kafka.bootstrap_servers), oidc_login(kafka, provider), provider)
