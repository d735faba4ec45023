"""The settings: environment variables, read once into a frozen Struct and validated together.

Every variable is named here and nowhere else; the README table and ``checkpoint-ready config``
are made from ``VARIABLES``. All problems are reported at once, each with its mend.
"""
# ruff: noqa: E501 - a row of VARIABLES stays on one line, so that the table can be read as one

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec

from consumer.errors import ConfigError

PREFIX: Final = "CHECKPOINT_READY_"
TOPIC_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # kafka.internals.Topic
MAX_PORT: Final = 65_535
SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# Kubernetes puts variables like these beside ours when a Service is named like the prefix.
SERVICE_LINK: Final = re.compile(r"(.*_)?(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP|SCTP).*)?)")
# The same for a Service named so that a link falls on one of ours: HTTP_PORT=tcp://10.0.0.1:80.
SERVICE_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")


class Secret:
    """A value that never shows itself: not in a repr, a log line or a JSON dump."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the client library only."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    @property
    def mask(self) -> str:
        """What may be shown: only whether there is a value."""
        return "********" if self._value else ""

    def __repr__(self) -> str:
        return repr(self.mask)

    __str__ = __repr__


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a person can set; field by field as ``VARIABLES`` describes it."""

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
    http_port: int
    log_level: str
    log_format: str
    security_protocol: str
    sasl_mechanism: str
    sasl_username: str
    sasl_password: Secret
    ssl_cafile: str
    ssl_certfile: str
    ssl_keyfile: str
    cloudevents_mode: str
    session_timeout_ms: int
    heartbeat_interval_ms: int
    transaction_timeout_ms: int
    discovery_interval_ms: int
    trim_interval_ms: int
    max_transaction_records: int

    @property
    def changelog_topic(self) -> str:
        """The compacted topic that is the only truth about ids and progress."""
        return f"{self.group_id}.changelog"

    @property
    def repartition_topic(self) -> str:
        """The topic that takes a record to its home shard; its partitions are the shards."""
        return f"{self.group_id}.repartition"

    def transactional_id(self, shard: int) -> str:
        """Return the transactional id that whoever runs this shard must hold."""
        return f"{self.group_id}-{shard}"

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read and validate the variables.

        Raises:
            ConfigError: with one line per problem.
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
            if unreadable.isdisjoint(fields.split())  # a default in its place proves nothing
        ]
        if problems:
            raise ConfigError("\n".join(problems))
        return settings


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


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        found = next((word for word in allowed if word.lower() == text.lower()), None)
        if found is None:
            choices = ", ".join(word or "(empty)" for word in allowed)
            raise ValueError(f"must be one of {choices}, not {text!r}")
        return found

    return parse


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError(f"must be true or false, not {text!r}")
    return text.lower() in {"true", "1", "yes"}


def _topic(text: str) -> str:
    if not TOPIC_NAME.fullmatch(text) or text in {".", ".."}:
        raise ValueError(f"{text!r} is no topic name (letters, digits, '.', '_', '-'; at most 249)")
    return text


def _topics(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError("name at least one topic")
    if len(set(names)) != len(names):
        raise ValueError("names a topic twice")
    return tuple(_topic(name) for name in names)


def _group(text: str) -> str:
    # The group names the internal topics and the transactional ids, so it must be a topic name.
    if not TOPIC_NAME.fullmatch(text) or len(text) > 200:  # noqa: PLR2004 - 249 less our suffixes
        raise ValueError(f"{text!r} must be 1 to 200 letters, digits, '.', '_' or '-'")
    return text


def _servers(text: str) -> str:
    for address in text.split(","):
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address.strip())
        if not found or not 0 < int(found[2]) <= MAX_PORT:
            raise ValueError(f"{address.strip()!r} is not host:port (a comma separates several)")
    return ",".join(address.strip() for address in text.split(","))


def _shards(text: str) -> int | None:
    return None if text == "" else _whole(1, 10_000)(text)


VARIABLES: Final = (
    Variable("BOOTSTRAP_SERVERS", "localhost:9092", _servers, "Kafka brokers to ask first, host:port, comma separated"),
    Variable("GROUP_ID", "checkpoint-ready", _group, "consumer group; also names the internal topics and transactional ids"),
    Variable("GROUP_INSTANCE_ID", "", str, "static membership (the pod's name): a restart in place keeps its shards"),
    Variable("INPUT_TOPICS", "fine-tuning.checkpoints", _topics, "topics to read, comma separated; never one of our own"),
    Variable("OUTPUT_TOPIC", "fine-tuning.checkpoint-ready", _topic, "topic of the ready events"),
    Variable("DEAD_LETTER_TOPIC", "fine-tuning.checkpoints.dead-letters", _topic, "topic of what cannot be published"),
    Variable("SHARDS", "", _shards, "shards, fixed when the internal topics are first created; empty: as many as the widest input topic has partitions, 3 at least"),
    Variable("COMMIT_INTERVAL_MS", "100", _whole(1, 10_000), "a caught-up shard commits at most this often (ms)"),
    Variable("DEDUP_WINDOW_SECONDS", "0", _whole(0, 10**10), "how long an id is remembered, by stream time; 0: for ever"),
    Variable("AUTO_OFFSET_RESET", "earliest", _choice("earliest", "latest"), "where the very first start of a group begins to read"),
    Variable("CREATE_TOPICS", "false", _flag, "create missing topics at the start of `run`"),
    Variable("HTTP_PORT", "8080", _whole(0, MAX_PORT), "port of health and metrics; 0: off (read and checked, served from a later release on)"),
    Variable("LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"), "least level that is logged"),
    Variable("LOG_FORMAT", "", _choice("", "json", "console"), "json or console; empty: console on a terminal, else json"),
    Variable("SECURITY_PROTOCOL", "PLAINTEXT", _choice(*SECURITY_PROTOCOLS), "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    Variable("SASL_MECHANISM", "", _choice("", *SASL_MECHANISMS), "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    Variable("SASL_USERNAME", "", str, "user for SASL; also from the file in SASL_USERNAME_FILE", is_secret=True),
    Variable("SASL_PASSWORD", "", Secret, "password for SASL; also from the file in SASL_PASSWORD_FILE", is_secret=True),
    Variable("SSL_CAFILE", "", str, "certificate authorities (PEM); empty: the system's"),
    Variable("SSL_CERTFILE", "", str, "client certificate (PEM), for mutual TLS"),
    Variable("SSL_KEYFILE", "", str, "key of the client certificate (PEM)"),
    Variable("CLOUDEVENTS_MODE", "structured", _choice("structured", "binary"), "CloudEvents content mode of the ready events"),
    Variable("SESSION_TIMEOUT_MS", "10000", _whole(1_000, 1_800_000), "how long the group waits for a silent member (ms)"),
    Variable("HEARTBEAT_INTERVAL_MS", "300", _whole(50, 60_000), "pause between heartbeats (ms); short: quick rebalances"),
    Variable("TRANSACTION_TIMEOUT_MS", "15000", _whole(1_000, 900_000), "the broker aborts a silent transaction after this (ms)"),
    Variable("DISCOVERY_INTERVAL_MS", "30000", _whole(100, 3_600_000), "how often new input partitions are looked for (ms)"),
    Variable("TRIM_INTERVAL_MS", "60000", _whole(100, 3_600_000), "how often handled repartition records are deleted (ms)"),
    Variable("MAX_TRANSACTION_RECORDS", "4000", _whole(1, 100_000), "most source records of one transaction"),
)  # fmt: skip


def _contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what does not go together: the fields that it concerns, and the problem."""
    yield from _topic_contradictions(settings)
    yield from _security_contradictions(settings)
    if settings.heartbeat_interval_ms * 3 > settings.session_timeout_ms:
        yield (
            "heartbeat_interval_ms session_timeout_ms",
            f"{PREFIX}HEARTBEAT_INTERVAL_MS must be at most a third of SESSION_TIMEOUT_MS",
        )


def _topic_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    ours = {
        settings.output_topic: ("OUTPUT_TOPIC", "output_topic"),
        settings.dead_letter_topic: ("DEAD_LETTER_TOPIC", "dead_letter_topic"),
        settings.changelog_topic: ("the changelog", "group_id"),
        settings.repartition_topic: ("the repartition topic", "group_id"),
    }
    for topic in settings.input_topics:
        if topic in ours:
            role, field = ours[topic]
            yield (
                f"input_topics {field}",
                f"{PREFIX}INPUT_TOPICS: {topic} is {role} of this service; reading it would loop",
            )
    if len(ours) < 4:  # noqa: PLR2004 - the four topics above
        yield (
            "output_topic dead_letter_topic group_id",
            f"{PREFIX}OUTPUT_TOPIC, DEAD_LETTER_TOPIC and the group's internal topics must differ",
        )


def _security_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    protocol = settings.security_protocol
    login = (settings.sasl_mechanism, settings.sasl_username, settings.sasl_password)
    if protocol.startswith("SASL") and not all(login):
        yield (
            "security_protocol sasl_mechanism sasl_username sasl_password",
            (
                f"{PREFIX}SECURITY_PROTOCOL={protocol} also needs SASL_MECHANISM, SASL_USERNAME "
                "and SASL_PASSWORD"
            ),
        )
    if any(login) and not protocol.startswith("SASL"):
        yield (
            "security_protocol",
            f"{PREFIX}SASL_*: set SECURITY_PROTOCOL to SASL_SSL (or SASL_PLAINTEXT) to use them",
        )
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
            yield name.lower(), f"{PREFIX}{name}: there is no file {path}"
    if bool(settings.ssl_certfile) != bool(settings.ssl_keyfile):
        yield (
            "ssl_certfile ssl_keyfile",
            f"{PREFIX}SSL_CERTFILE and SSL_KEYFILE belong together; set both or none",
        )
