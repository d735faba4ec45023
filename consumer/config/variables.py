"""The environment variables: every one is named here and nowhere else.

The README table and ``checkpoint-ready config`` are made from ``VARIABLES``.
"""
# ruff: noqa: E501 - a row of VARIABLES stays on one line, so that the table can be read as one

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumer.config.parsing import (
    MAX_PORT,
    Secret,
    choice,
    flag,
    group,
    servers,
    shards,
    topic,
    topics,
    whole,
)

PREFIX: Final = "CHECKPOINT_READY_"
SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# Kubernetes puts variables like these beside ours when a Service is named like the prefix.
SERVICE_LINK: Final = re.compile(r"(.*_)?(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP|SCTP).*)?)")
# The same for a Service named so that a link falls on one of ours: HTTP_PORT=tcp://10.0.0.1:80.
SERVICE_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")


class Variable(NamedTuple):
    """One environment variable: its name, default, reader and description."""

    short_name: str
    default: str
    parse: Callable[[str], Any]
    description: str
    is_secret: bool = False

    @property
    def name(self) -> str:
        """The full name in the environment."""
        return PREFIX + self.short_name

    @property
    def field(self) -> str:
        """The field of ``Settings`` that it fills."""
        return self.short_name.lower()

    def read(self, environment: Mapping[str, str]) -> object:
        """Return the parsed value; a secret may also come from a file (``…_FILE``)."""
        text = environment.get(self.name, "")
        if SERVICE_LINK.fullmatch(self.short_name) and SERVICE_LINK_VALUE.fullmatch(text):
            text = ""
        path = environment.get(f"{self.name}_FILE", "") if self.is_secret else ""
        if text and path:
            raise ValueError(f"is set twice; keep either it or {self.name}_FILE")
        if path:
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ValueError(f"cannot read {self.name}_FILE: {error.strerror}") from None
        return self.parse(text.strip() or self.default)


VARIABLES: Final = (
    Variable("BOOTSTRAP_SERVERS", "localhost:9092", servers, "Kafka brokers to ask first, host:port, comma separated"),
    Variable("GROUP_ID", "checkpoint-ready", group, "consumer group; also names the internal topics and transactional ids"),
    Variable("GROUP_INSTANCE_ID", "", str, "static membership (the pod's name): a restart in place keeps its shards"),
    Variable("INPUT_TOPICS", "fine-tuning.checkpoints", topics, "topics to read, comma separated; never one of our own"),
    Variable("OUTPUT_TOPIC", "fine-tuning.checkpoint-ready", topic, "topic of the ready events"),
    Variable("DEAD_LETTER_TOPIC", "fine-tuning.checkpoints.dead-letters", topic, "topic of what cannot be published"),
    Variable("SHARDS", "", shards, "shards, fixed when the internal topics are first created; empty: as many as the widest input topic has partitions, 3 at least"),
    Variable("COMMIT_INTERVAL_MS", "100", whole(1, 10_000), "a caught-up shard commits at most this often (ms)"),
    Variable("DEDUP_WINDOW_SECONDS", "0", whole(0, 10**10), "how long an id is remembered, by stream time; 0: for ever"),
    Variable("AUTO_OFFSET_RESET", "earliest", choice("earliest", "latest"), "where the very first start of a group begins to read"),
    Variable("CREATE_TOPICS", "false", flag, "create missing topics at the start of `run`"),
    Variable("HTTP_PORT", "8080", whole(0, MAX_PORT), "port of health (`/livez`, `/readyz`, `/startupz`), `/metrics` and a status page (`/`), on all addresses and without a login; 0: off"),
    Variable("LOG_LEVEL", "info", choice("debug", "info", "warning", "error"), "least level that is logged"),
    Variable("LOG_FORMAT", "", choice("", "json", "console"), "json or console; empty: console on a terminal, else json"),
    Variable("SECURITY_PROTOCOL", "PLAINTEXT", choice(*SECURITY_PROTOCOLS), "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    Variable("SASL_MECHANISM", "", choice("", *SASL_MECHANISMS), "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    Variable("SASL_USERNAME", "", str, "user for SASL; also from the file in SASL_USERNAME_FILE", is_secret=True),
    Variable("SASL_PASSWORD", "", Secret, "password for SASL; also from the file in SASL_PASSWORD_FILE", is_secret=True),
    Variable("SSL_CAFILE", "", str, "certificate authorities (PEM); empty: the system's"),
    Variable("SSL_CERTFILE", "", str, "client certificate (PEM), for mutual TLS"),
    Variable("SSL_KEYFILE", "", str, "key of the client certificate (PEM)"),
    Variable("CLOUDEVENTS_MODE", "structured", choice("structured", "binary"), "CloudEvents content mode of the ready events"),
    Variable("SESSION_TIMEOUT_MS", "10000", whole(1_000, 1_800_000), "how long the group waits for a silent member (ms)"),
    Variable("HEARTBEAT_INTERVAL_MS", "300", whole(50, 60_000), "pause between heartbeats (ms); short: quick rebalances"),
    Variable("TRANSACTION_TIMEOUT_MS", "15000", whole(1_000, 900_000), "the broker aborts a silent transaction after this (ms)"),
    Variable("DISCOVERY_INTERVAL_MS", "30000", whole(100, 3_600_000), "how often new input partitions are looked for (ms)"),
    Variable("TRIM_INTERVAL_MS", "60000", whole(100, 3_600_000), "how often handled repartition records are deleted (ms)"),
    Variable("DEAD_LETTER_LIMIT_PERCENT", "0", whole(0, 100), "dead letters may be less than this share of an input partition's window, else the service ends instead of writing more; 0: no limit"),
    Variable("DEAD_LETTER_WINDOW_RECORDS", "1000", whole(10, 10_000), "the window of that limit: so many offsets of an input partition"),
    Variable("WATCHDOG_SECONDS", "300", whole(0, 86_400), "the process fails when a shard is behind and makes no progress for this long, or hangs (s); 0: never"),
    Variable("MAX_TRANSACTION_RECORDS", "4000", whole(1, 100_000), "most source records of one transaction"),
)  # fmt: skip


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable with our prefix that we do not know, with a guess."""
    known = {variable.name for variable in VARIABLES}
    known |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.is_secret}
    lines = []
    for name in sorted(environment):
        rest = name.removeprefix(PREFIX)
        if rest == name or name in known or SERVICE_LINK.fullmatch(rest):
            continue
        guess = difflib.get_close_matches(name, known, n=1)
        lines.append(f"{name} is not known" + (f"; did you mean {guess[0]}?" if guess else ""))
    return lines
