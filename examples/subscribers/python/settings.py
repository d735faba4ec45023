"""Environment variables of the subscribers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ISOLATION_LEVELS = ("read_committed", "read_uncommitted", "client_default")


class Settings(NamedTuple):
    """What both subscribers need to connect."""

    bootstrap_servers: str
    group_id: str
    topic: str
    isolation_level: str | None  # None: do not set the option, so that the client's default applies
    properties: dict[str, str]  # with the names of librdkafka, for example `sasl.password`

    @classmethod
    def load(cls, variables: Mapping[str, str], group_id: str) -> Settings:
        """Return the settings in these environment variables; `group_id` is the default group.

        Raises:
            ValueError: the isolation level is unknown, or the file of properties has a wrong line.
            OSError: the file of properties cannot be read.
        """
        level = variables.get("ISOLATION_LEVEL", "read_committed")
        if level not in ISOLATION_LEVELS:
            raise ValueError(f"ISOLATION_LEVEL is {level!r}, but must be read_committed")
        return cls(
            variables.get("BOOTSTRAP_SERVERS", "localhost:9092"),
            variables.get("GROUP_ID", group_id),
            variables.get("TOPIC", "fine-tuning.checkpoint-ready"),
            None if level == "client_default" else level,
            read_properties(path) if (path := variables.get("KAFKA_PROPERTIES_FILE")) else {},
        )


def read_properties(path: str) -> dict[str, str]:
    """Return the lines `name=value` of a file; `#` begins a comment line.

    Raises:
        ValueError: another line. The message does not contain it, because it may be a secret.
        OSError: the file cannot be read.
    """
    properties = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise ValueError(f"line {number} of {path} is not name=value")
        properties[name.strip()] = value.strip()
    return properties
