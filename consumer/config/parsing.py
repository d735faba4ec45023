"""Parsers of single values. Each raises ValueError with a message for the operator."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

TOPIC_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # kafka.internals.Topic
GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TOKEN_PROVIDERS: Final = ("oidc", "file", "aws_msk_iam", "azure", "gcp")
# The extensions of Confluent Cloud: ids of a cluster and of an identity pool.
HARMLESS_EXTENSIONS: Final = frozenset({"logicalCluster", "identityPoolId"})
MASK: Final = "********"
MAX_PORT: Final = 65_535
MAX_URI_CHARS: Final = 500
# Forwards that a shard has not read within the retention are lost. Two weeks are longer than the
# outages after which operators still expect to continue. Kafka's default of one week is shorter, so
# a topic that was created without a retention is refused.
MIN_REPARTITION_RETENTION_DAYS: Final = 14
MAX_REPARTITION_RETENTION_DAYS: Final = 10_000
_URI_CHAR: Final = r"(?:[\w.~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"
_URI: Final = re.compile(  # RFC 3986
    rf"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*):"
    rf"(?P<authority>//(?:{_URI_CHAR}|\[[0-9a-fA-F:.]+\])+)?"
    rf"(?P<path>(?:{_URI_CHAR}|/)*)"
    rf"(?:\?(?:{_URI_CHAR}|[/?])*)?(?:#(?:{_URI_CHAR}|[/?])*)?",
    re.ASCII,
)


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """Return a parser that accepts one of these words, in upper or lower case."""

    def parse(text: str) -> str:
        found = next((word for word in allowed if word.lower() == text.lower()), None)
        if found is None:
            choices = ", ".join(word or "(empty)" for word in allowed)
            raise ValueError(f"must be one of {choices}, not {text!r}")
        return found

    return parse


def flag(text: str) -> bool:
    """Parse a boolean."""
    if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError(f"must be true or false, not {text!r}")
    return text.lower() in {"true", "1", "yes"}


def topic(text: str) -> str:
    """Parse the name of a topic."""
    if not TOPIC_NAME.fullmatch(text) or text in {".", ".."}:
        raise ValueError(
            f"{text!r} is not a topic name: at most 249 letters, digits, '.', '_', '-'"
        )
    return text


def topics(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of topics."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError("name at least one topic")
    if len(set(names)) != len(names):
        raise ValueError("contains the same topic twice")
    return tuple(topic(name) for name in names)


def group(text: str) -> str:
    """Parse the name of the consumer group."""
    # The names of the internal topics begin with this name, so it must be valid in a topic name.
    if not TOPIC_NAME.fullmatch(text) or len(text) > 200:  # noqa: PLR2004 - 249, minus room for the suffixes
        raise ValueError(f"{text!r} must be 1 to 200 letters, digits, '.', '_' or '-'")
    return text


def servers(text: str) -> str:
    """Parse the addresses of brokers."""
    for address in text.split(","):
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address.strip())
        if not found or not 0 < int(found[2]) <= MAX_PORT:
            raise ValueError(f"{address.strip()!r} is not host:port (separate several with commas)")
    return ",".join(address.strip() for address in text.split(","))


def uri(text: str) -> str:
    """Parse an absolute URI, such as a URN or an HTTP address."""
    found = _URI.fullmatch(text) if len(text) <= MAX_URI_CHARS else None
    is_web = found is not None and found["scheme"].lower() in {"http", "https"}
    if found is None or not (found["authority"] or (found["path"] and not is_web)):
        raise ValueError(
            f"must be an absolute URI of at most {MAX_URI_CHARS} characters, such as "
            f"https://HOST/PATH or urn:NAMESPACE:NAME, not {text!r}"
        )
    return text


def web_address(text: str) -> str:
    """Parse an HTTP or HTTPS address. Return an empty text unchanged."""
    if text and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?(\?[^\s#]*)?", text):
        # The value is not shown, because it may contain a password.
        raise ValueError("must be an address such as https://HOST/PATH, without a user or password")
    return text


def token_provider(text: str) -> str:
    """Parse the name of a token provider, or the name of a class as ``module:Class``."""
    if text in TOKEN_PROVIDERS or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        return text
    names = ", ".join(TOKEN_PROVIDERS)
    raise ValueError(f"must be one of {names}, or module:Class, not {text!r}")


def sasl_extensions(text: str) -> tuple[tuple[str, str], ...]:
    """Parse SASL extensions, ``name=value,name=value`` (RFC 7628 section 3.1)."""
    pairs = []
    for pair in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([A-Za-z]+)=([\x21-\x7e]+)", pair)
        if found is None or found[1].lower() == "auth":
            raise ValueError(
                "must be name=value, comma-separated: a name has letters only and is not auth, "
                "a value has printable ASCII characters without spaces"
            )
        pairs.append((found[1], found[2]))
    if len(dict(pairs)) < len(pairs):
        raise ValueError("contains the same name twice")
    return tuple(pairs)


def shown_extensions(extensions: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return extensions for an operator. The value of one may be a secret, unless it is known."""
    return tuple(
        f"{name}={value if name in HARMLESS_EXTENSIONS else MASK}" for name, value in extensions
    )


def shown_address(address: str) -> str:
    """Return an address for an operator. Its query may have a key."""
    path, mark, _ = address.partition("?")
    return f"{path}{mark}{MASK}" if mark else address


def shards(text: str) -> int | None:
    """Parse the number of shards. Return None if the text is empty."""
    return None if text == "" else whole(1, 10_000)(text)


def retention_days(text: str) -> int:
    """Parse the retention of the repartition topic; 0: no limit."""
    days = whole(0, MAX_REPARTITION_RETENTION_DAYS)(text)
    if 0 < days < MIN_REPARTITION_RETENTION_DAYS:
        raise ValueError(
            f"{text} is less than {MIN_REPARTITION_RETENTION_DAYS} days: forwards that no shard "
            "has read within the retention are lost"
        )
    return days


def rack(text: str) -> str:
    """Parse the name of a rack or availability zone."""
    if not re.fullmatch(r"\S{0,249}", text):
        raise ValueError(f"must be at most 249 characters without white space, not {text!r}")
    return text


def schema_guid(text: str) -> str:
    """Parse the GUID of a schema in a registry, in lower case. Return an empty text unchanged."""
    if text and not GUID.fullmatch(text):
        raise ValueError(
            f"must be a UUID such as 0f0ec7b6-3e8a-4f4e-9d5c-6d2f0c1f5b7a, not {text!r}"
        )
    return text.lower()


class Secret:
    """A secret value that no repr, log line or JSON dump shows; it can be the content of a file."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: str, path: str = "") -> None:
        self._value = value
        self._path = path

    def reveal(self) -> str:
        """Return the value, of a file its present content. Only the client library may receive it.

        A file that is empty or not readable is being replaced: the value before is valid then.
        """
        if self._path:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                self._value = Path(self._path).read_text(encoding="utf-8").strip() or self._value
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    @property
    def mask(self) -> str:
        """The text to show instead of the value: asterisks, or empty without a value."""
        return MASK if self._value else ""

    def __repr__(self) -> str:
        return repr(self.mask)

    __str__ = __repr__
