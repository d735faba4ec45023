"""The settings as one frozen Struct. One error reports all problems, each with its fix."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from consumer.config.login import login_contradictions
from consumer.config.parsing import Secret
from consumer.config.variables import PREFIX, VARIABLES
from consumer.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. ``VARIABLES`` describes each field in its help text."""

    bootstrap_servers: str
    group_id: str
    group_instance_id: str
    input_topics: tuple[str, ...]
    output_topic: str
    dead_letter_topic: str
    shards: int | None
    commit_interval_ms: int
    dedup_window_seconds: int
    auto_offset_reset: str
    create_topics: bool
    repartition_retention_days: int
    http_port: int
    log_level: str
    log_format: str
    security_protocol: str
    sasl_mechanism: str
    sasl_username: str
    sasl_password: Secret
    sasl_oauthbearer_provider: str
    sasl_oauthbearer_token_endpoint_url: str
    sasl_oauthbearer_client_credentials_client_id: str
    sasl_oauthbearer_client_credentials_client_secret: Secret
    sasl_oauthbearer_header_urlencode: bool
    sasl_oauthbearer_assertion_private_key_file: str
    sasl_oauthbearer_assertion_algorithm: str
    sasl_oauthbearer_assertion_key_id: str
    sasl_oauthbearer_assertion_claim_aud: str
    sasl_oauthbearer_assertion_file: str
    sasl_oauthbearer_scope: str
    sasl_oauthbearer_audience: str
    sasl_oauthbearer_ssl_cafile: str
    sasl_oauthbearer_token_file: str
    sasl_oauthbearer_extensions: tuple[tuple[str, str], ...]
    connections_max_idle_ms: int
    tcp_keepalive_seconds: int
    client_rack: str
    ssl_cafile: str
    ssl_certfile: str
    ssl_keyfile: str
    cloudevents_mode: str
    schema_guid: str
    dataschema: str
    session_timeout_ms: int
    heartbeat_interval_ms: int
    transaction_timeout_ms: int
    discovery_interval_ms: int
    trim_interval_ms: int
    dead_letter_limit_percent: int
    dead_letter_window_records: int
    watchdog_seconds: int
    max_transaction_records: int
    compression_type: str

    @property
    def changelog_topic(self) -> str:
        """The compacted topic with published ids and progress: the only source of truth."""
        return f"{self.group_id}.changelog"

    @property
    def repartition_topic(self) -> str:
        """The topic that carries records to their home shards; it has one partition per shard."""
        return f"{self.group_id}.repartition"

    @property
    def jobs_topic(self) -> str:
        """The compacted topic with the progress of the jobs: replay, backfill and redrive."""
        return f"{self.group_id}.jobs"

    @property
    def replay_topic(self) -> str:
        """The topic that a replay writes to, unless it is given another one."""
        return f"{self.output_topic}.replay"

    def transactional_id(self, shard: int) -> str:
        """Return the transactional id of this shard; every owner of the shard uses it."""
        return f"{self.group_id}-{shard}"

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Return the validated settings.

        Raises:
            ConfigError: the message has one line for each problem.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        unreadable: set[str] = set()
        for variable in VARIABLES:
            try:
                values[variable.field] = variable.read(environment)
            except ValueError as error:
                problems.append(f"{variable.name}: {error}")
                unreadable.add(variable.field)
                values[variable.field] = variable.parse(variable.default)
        settings = cls(**values)
        problems += [
            problem
            for fields, problem in _contradictions(settings)
            # A field whose variable could not be read holds its default here. The user did not
            # choose this value, so ignore contradictions with it.
            if unreadable.isdisjoint(fields.split())
        ]
        if problems:
            raise ConfigError("\n".join(problems))
        return settings


def _contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each problem with a combination of fields: the names of these fields, and the message.

    The names are separated by spaces.
    """
    yield from _topic_contradictions(settings)
    yield from _security_contradictions(settings)
    if settings.heartbeat_interval_ms * 3 > settings.session_timeout_ms:
        yield (
            "heartbeat_interval_ms session_timeout_ms",
            f"{PREFIX}HEARTBEAT_INTERVAL_MS must be at most a third of SESSION_TIMEOUT_MS",
        )
    if 0 < settings.watchdog_seconds * 1000 < settings.transaction_timeout_ms * 2:
        yield (
            "watchdog_seconds transaction_timeout_ms",
            (
                f"{PREFIX}WATCHDOG_SECONDS must be 0 or at least twice TRANSACTION_TIMEOUT_MS: "
                "a transaction that another producer left open may block a shard for that time"
            ),
        )
    if 0 < settings.watchdog_seconds * 1000 < settings.session_timeout_ms * 2:
        yield (
            "watchdog_seconds session_timeout_ms",
            (
                f"{PREFIX}WATCHDOG_SECONDS must be 0 or at least twice SESSION_TIMEOUT_MS: "
                "a rebalance may wait for a member without heartbeats for that time"
            ),
        )


def _topic_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    ours = {
        settings.output_topic: ("OUTPUT_TOPIC", "output_topic"),
        settings.dead_letter_topic: ("DEAD_LETTER_TOPIC", "dead_letter_topic"),
        settings.changelog_topic: ("the changelog", "group_id"),
        settings.repartition_topic: ("the repartition topic", "group_id"),
        settings.jobs_topic: ("the jobs topic", "group_id"),
    }
    for topic in settings.input_topics:
        if topic in ours:
            role, field = ours[topic]
            yield (
                f"input_topics {field}",
                (
                    f"{PREFIX}INPUT_TOPICS: {topic} is {role} of this service, which would read "
                    "its own output"
                ),
            )
    if len(ours) < 5:  # noqa: PLR2004 - the five topics above
        yield (
            "output_topic dead_letter_topic group_id",
            f"{PREFIX}OUTPUT_TOPIC, DEAD_LETTER_TOPIC and the group's internal topics must differ",
        )


def _security_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from login_contradictions(settings)
    protocol = settings.security_protocol
    files = {
        "SSL_CAFILE": settings.ssl_cafile,
        "SSL_CERTFILE": settings.ssl_certfile,
        "SSL_KEYFILE": settings.ssl_keyfile,
    }
    if any(files.values()) and not protocol.endswith("SSL"):
        yield (
            "security_protocol",
            f"{PREFIX}SSL_*: set SECURITY_PROTOCOL to SSL or SASL_SSL to use them",
        )
    for name, path in files.items():
        if path and not Path(path).is_file():
            yield name.lower(), f"{PREFIX}{name}: the file {path} does not exist"
    if bool(settings.ssl_certfile) != bool(settings.ssl_keyfile):
        yield (
            "ssl_certfile ssl_keyfile",
            f"{PREFIX}SSL_CERTFILE and SSL_KEYFILE need each other; set both or neither",
        )
