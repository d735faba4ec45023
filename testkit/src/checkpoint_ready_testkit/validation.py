"""Checks the arguments of the builders, because the service refuses records that break its limits.

Every function raises ValueError for a wrong value, also for a value of a wrong type. A mistake in a
test is then reported by the builder, and does not become an event.
"""

import math
import re
from collections.abc import Mapping
from typing import Final
from uuid import UUID

MAX_DEPTH: Final = 64
"""The limit for the levels of objects and arrays in a checkpoint, with the checkpoint itself."""
MAX_SHARDS: Final = 10_000
MAX_URI_CHARS: Final = 500
LAST_OFFSET: Final = 2**63 - 1
LAST_PARTITION: Final = 2**31 - 1
NO_TIMESTAMP_MS: Final = -1

_TOPIC: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")  # the rule of Kafka
# RFC 3986. An address of the web must name a host.
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.-]*"
_CHAR: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_HOST: Final = rf"//(?:{_CHAR}|\[[0-9A-Fa-f:.]+\])+"
_REST: Final = rf"(?:{_CHAR}|/)*(?:\?(?:{_CHAR}|[/?])*)?(?:#(?:{_CHAR}|[/?])*)?"
_WITH_HOST: Final = re.compile(rf"{_SCHEME}:{_HOST}{_REST}")
_WITHOUT_HOST: Final = re.compile(rf"(?!(?i:https?):){_SCHEME}:(?:{_CHAR}|/){_REST}")


def is_absolute_uri(value: object) -> bool:
    """Return whether a value is a URI with a scheme, such as a URN or an HTTP address."""
    if not isinstance(value, str) or len(value) > MAX_URI_CHARS:
        return False
    return bool(_WITH_HOST.fullmatch(value) or _WITHOUT_HOST.fullmatch(value))


def require_absolute_uri(name: str, value: object) -> None:
    """Check that a value is a URI that the service accepts as its setting DATASCHEMA."""
    if not is_absolute_uri(value):
        raise ValueError(
            f"{name} must be an absolute URI of at most {MAX_URI_CHARS} characters, not {value!r}"
        )


def require_text(name: str, value: object) -> None:
    """Check that a value is a text that UTF-8 can encode: it has no unpaired surrogate."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}")  # noqa: TRY004 - see the module
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be valid Unicode: {error}") from None


def require_integer(
    name: str, value: object, low: float = -math.inf, high: float = math.inf
) -> None:
    """Check that a value is an integer from `low` to `high`. A boolean or a float is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        limits = "" if math.isinf(low) else f" from {low} to {high}"
        raise ValueError(f"{name} must be an integer{limits}, not {value!r}")


def require_origin(topic: object, partition: object, offset: object, timestamp_ms: object) -> None:
    """Check that a record can be at this place in Kafka."""
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise ValueError(f"topic must be the name of a Kafka topic, not {topic!r}")
    require_integer("partition", partition, 0, LAST_PARTITION)
    require_integer("offset", offset, 0, LAST_OFFSET)
    require_integer("timestamp_ms", timestamp_ms, NO_TIMESTAMP_MS, LAST_OFFSET)


def require_members(name: str, members: object, levels: int) -> None:
    """Check that a value is an object of JSON with at most this many levels, itself included."""
    if not isinstance(members, Mapping):
        raise ValueError(f"{name} must be an object, not {members!r}")  # noqa: TRY004 - see the module
    _require_json(name, members, levels)


def guid_bytes(name: str, text: str) -> bytes:
    """Return the 16 bytes of a UUID in its usual form, with four hyphens."""
    try:
        guid = UUID(text)
    except (ValueError, AttributeError):
        guid = None
    if guid is None or str(guid) != text.lower():
        raise ValueError(f"{name} must be a UUID in its form with hyphens, not {text!r}")
    return guid.bytes


def _require_json(name: str, value: object, levels: int) -> None:
    if isinstance(value, str):
        require_text(name, value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} must have finite numbers only, not {value!r}")
    elif isinstance(value, Mapping | list | tuple):
        if not levels:
            raise ValueError(f"{name} must not make a checkpoint deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            for member in value:
                require_text(f"a member name in {name}", member)
            value = value.values()
        for item in value:
            _require_json(name, item, levels - 1)
    elif value is not None and not isinstance(value, int):
        raise ValueError(f"{name} must have values of JSON only, not {value!r}")
