"""Defines the environment variables of the service: their names, defaults and parsers.

The tables in the README and ``checkpoint-ready config`` are generated from ``VARIABLES``.
"""
# ruff: noqa: E501 - a row of VARIABLES stays on one line, so that it reads as a table

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
    rack,
    retention_days,
    sasl_extensions,
    schema_guid,
    servers,
    shards,
    shown_address,
    shown_extensions,
    token_provider,
    topic,
    topics,
    uri,
    web_address,
    whole,
)

PREFIX: Final = "CHECKPOINT_READY_"
SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
# For each Service, Kubernetes adds variables with these endings to the environment (service links). If
# the Service has a name such as "checkpoint-ready", these variables begin with PREFIX.
SERVICE_LINK: Final = re.compile(r"(.*_)?(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP|SCTP).*)?)")
# A service link may have the name of a setting, such as HTTP_PORT=tcp://10.0.0.1:80.
SERVICE_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")


class Variable(NamedTuple):
    """One environment variable: name, default, parser and description.

    `show` returns what an operator may see of a value. A ``Secret`` needs none.
    """

    short_name: str
    default: str
    parse: Callable[[str], Any]
    description: str
    is_secret: bool = False
    show: Callable[[Any], object] = lambda value: value

    @property
    def name(self) -> str:
        """The full name in the environment."""
        return PREFIX + self.short_name

    @property
    def field(self) -> str:
        """The field of ``Settings`` that holds the value of the variable."""
        return self.short_name.lower()

    def shown(self, value: object) -> object:
        """Return a value for an operator, without what may be a secret."""
        return value.mask if isinstance(value, Secret) else self.show(value)

    def read(self, environment: Mapping[str, str]) -> object:
        """Return the parsed value. The value of a secret can also be in a file (``…_FILE``)."""
        text = environment.get(self.name, "")
        if SERVICE_LINK.fullmatch(self.short_name) and SERVICE_LINK_VALUE.fullmatch(text):
            text = ""
        path = environment.get(f"{self.name}_FILE", "") if self.is_secret else ""
        if text and path:
            raise ValueError(f"is set, and {self.name}_FILE too; unset one of them")
        if path:
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ValueError(f"cannot read {self.name}_FILE: {error.strerror}") from None
        value = self.parse(text.strip() or self.default)
        return Secret(value.reveal(), path) if isinstance(value, Secret) else value


VARIABLES: Final = (
    Variable("BOOTSTRAP_SERVERS", "localhost:9092", servers, "bootstrap servers of Kafka, host:port, comma-separated"),
    Variable("GROUP_ID", "checkpoint-ready", group, "consumer group; also the prefix of the internal topics and transactional ids"),
    Variable("GROUP_INSTANCE_ID", "", str, "static membership (set it to the pod's name): a restarted process keeps its shards"),
    Variable("INPUT_TOPICS", "fine-tuning.checkpoints", topics, "input topics, comma-separated; must not be a topic that this service writes"),
    Variable("OUTPUT_TOPIC", "fine-tuning.checkpoint-ready", topic, "topic of the ready events"),
    Variable("DEAD_LETTER_TOPIC", "fine-tuning.checkpoints.dead-letters", topic, "topic of the dead letters (records that cannot be published)"),
    Variable("SHARDS", "", shards, "number of shards, fixed when the internal topics are created; empty: the largest partition count of the input topics, at least 3"),
    Variable("COMMIT_INTERVAL_MS", "10", whole(1, 10_000), "shortest time between two commits of a shard that has no lag (ms)"),
    Variable("DEDUP_WINDOW_SECONDS", "0", whole(0, 10**10), "how long an id is remembered (s), in stream time; 0: forever"),
    Variable("AUTO_OFFSET_RESET", "earliest", choice("earliest", "latest"), "where a new group starts to read; an existing group continues from its committed progress"),
    Variable("CREATE_TOPICS", "false", flag, "create missing topics at the start of `run`"),
    Variable("REPARTITION_RETENTION_DAYS", "0", retention_days, "retention of a new repartition topic (days), at least 14; only for a cluster that refuses DeleteRecords; 0: no limit"),
    Variable("HTTP_PORT", "8080", whole(0, MAX_PORT), "port of the probes (`/livez`, `/readyz`, `/startupz`), `/metrics`, the status page (`/`) and the schemas (`/asyncapi.json`), on all addresses, without authentication; 0: off"),
    Variable("LOG_LEVEL", "info", choice("debug", "info", "warning", "error"), "lowest level that is logged"),
    Variable("LOG_FORMAT", "", choice("", "json", "console"), "json or console; empty: console on a terminal, otherwise json"),
    Variable("SECURITY_PROTOCOL", "PLAINTEXT", choice(*SECURITY_PROTOCOLS), "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    Variable("SASL_MECHANISM", "", choice("", *SASL_MECHANISMS), "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"),
    Variable("SASL_USERNAME", "", str, "SASL user; or set SASL_USERNAME_FILE to the path of a file that contains it", is_secret=True),
    Variable("SASL_PASSWORD", "", Secret, "SASL password; or set SASL_PASSWORD_FILE to the path of a file that contains it, which is read again for each connection", is_secret=True),
    Variable("SASL_OAUTHBEARER_PROVIDER", "oidc", token_provider, "where the tokens of OAUTHBEARER come from: `oidc` (a token endpoint), `file`, `aws_msk_iam`, `azure`, `gcp`, or a class of your own as `module:Class`"),
    Variable("SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "", web_address, "`oidc`: address of the token endpoint", show=shown_address),
    Variable("SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID", "", str, "`oidc`: id of the client at the token endpoint"),
    Variable("SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET", "", Secret, "`oidc`: secret of the client; or set SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET_FILE to the path of a file that contains it, which is read again for each request", is_secret=True),
    Variable("SASL_OAUTHBEARER_HEADER_URLENCODE", "false", flag, "`oidc`: encode client id and secret for a URL before they go into the header (RFC 6749 section 2.3.1)"),
    Variable("SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE", "", str, "`oidc`, instead of a secret: file of the private key (PEM) that signs a client assertion (`private_key_jwt`, RFC 7523); needs the extra `oauth`"),
    Variable("SASL_OAUTHBEARER_ASSERTION_ALGORITHM", "RS256", choice("RS256", "ES256"), "signature algorithm of the client assertion"),
    Variable("SASL_OAUTHBEARER_ASSERTION_KEY_ID", "", str, "id of the private key (`kid`) in the header of the client assertion; empty: none"),
    Variable("SASL_OAUTHBEARER_ASSERTION_CLAIM_AUD", "", str, "audience of the client assertion; empty: the address of the token endpoint"),
    Variable("SASL_OAUTHBEARER_ASSERTION_FILE", "", str, "`oidc`, instead of a secret: file with a client assertion that something else renews, such as the projected service-account token of a pod; read again for each request"),
    Variable("SASL_OAUTHBEARER_SCOPE", "", str, "scope to request; several are separated by spaces (`oidc`, `azure`)"),
    Variable("SASL_OAUTHBEARER_AUDIENCE", "", str, "`oidc`: audience to request, as some identity providers need it; empty: not sent"),
    Variable("SASL_OAUTHBEARER_SSL_CAFILE", "", str, "`oidc`: file of certificate authorities (PEM) of the token endpoint; empty: those of the system"),
    Variable("SASL_OAUTHBEARER_TOKEN_FILE", "", str, "`file`: file with a token that something else renews; read again for each login"),
    Variable("SASL_OAUTHBEARER_EXTENSIONS", "", sasl_extensions, "SASL extensions that are sent with each token, `name=value`, comma-separated, such as `logicalCluster=lkc-1,identityPoolId=pool-1`", show=shown_extensions),
    Variable("CONNECTIONS_MAX_IDLE_MS", "180000", whole(1_000, 86_400_000), "close a connection without requests after this time (ms); must be shorter than the idle timeout of every NAT gateway and load balancer on the way (4 minutes in Azure)"),
    Variable("TCP_KEEPALIVE_SECONDS", "60", whole(0, 7_200), "test a connection without traffic after this time (s) by TCP keep-alive; 0: off"),
    Variable("CLIENT_RACK", "", rack, "rack (availability zone) of this process; partitions are then read from a replica in the same rack, if the brokers have a rack-aware `replica.selector.class` (KIP-392)"),
    Variable("SSL_CAFILE", "", str, "file of certificate authorities (PEM); empty: those of the system"),
    Variable("SSL_CERTFILE", "", str, "file of the client certificate (PEM), for mutual TLS"),
    Variable("SSL_KEYFILE", "", str, "file of the client certificate's private key (PEM)"),
    Variable("CLOUDEVENTS_MODE", "structured", choice("structured", "binary"), "CloudEvents content mode of the ready events"),
    Variable("SCHEMA_GUID", "", schema_guid, "GUID of the ready events' schema in a schema registry, written to each ready event as the header `__value_schema_id`; in binary mode the value is `data`, so it must be the GUID of the schema of `data`; empty: no header"),
    Variable("DATASCHEMA", "urn:checkpoint-ready:schema:ready-event:1", uri, "address of the schema of `data`, the attribute `dataschema` of the ready events; this service serves the schema at `/schemas/ready-event-data/1` of HTTP_PORT"),
    Variable("SESSION_TIMEOUT_MS", "10000", whole(1_000, 1_800_000), "the group removes a member that sends no heartbeat for this time (ms)"),
    Variable("HEARTBEAT_INTERVAL_MS", "300", whole(50, 60_000), "time between two heartbeats (ms); a short time makes rebalances fast"),
    Variable("TRANSACTION_TIMEOUT_MS", "15000", whole(1_000, 900_000), "the broker aborts a transaction that is open for this time (ms)"),
    Variable("DISCOVERY_INTERVAL_MS", "30000", whole(100, 3_600_000), "time between two checks for new input partitions (ms); at most 5 s while a partition has no leader"),
    Variable("TRIM_INTERVAL_MS", "60000", whole(100, 3_600_000), "time between two deletions of processed repartition records (ms)"),
    Variable("DEAD_LETTER_LIMIT_PERCENT", "0", whole(0, 100), "stop the service when this percentage of the last DEAD_LETTER_WINDOW_RECORDS offsets of an input partition are dead letters; 0: off"),
    Variable("DEAD_LETTER_WINDOW_RECORDS", "1000", whole(10, 10_000), "number of latest offsets of an input partition that DEAD_LETTER_LIMIT_PERCENT applies to"),
    Variable("WATCHDOG_SECONDS", "300", whole(0, 86_400), "exit when a shard has lag and makes no progress for this time (s), or when the process hangs; 0: off"),
    Variable("COMPRESSION_TYPE", "none", choice("none", "lz4", "zstd"), "compression of all records that are written (ready events, dead letters, internal topics)"),
    Variable("MAX_TRANSACTION_RECORDS", "12000", whole(1, 100_000), "largest number of source records in one transaction"),
)  # fmt: skip


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each unknown variable with the prefix; it names a similar variable, if any."""
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
