"""Environment variables of the subscribers."""

from __future__ import annotations

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

    @classmethod
    def load(cls, variables: Mapping[str, str]) -> Settings:
        """Return the settings in these environment variables.

        Raises:
            ValueError: the isolation level is unknown.
        """
        level = variables.get("ISOLATION_LEVEL", "read_committed")
        if level not in ISOLATION_LEVELS:
            raise ValueError(f"ISOLATION_LEVEL is {level!r}, but must be read_committed")
        return cls(
            variables.get("BOOTSTRAP_SERVERS", "localhost:9092"),
            variables.get("GROUP_ID", "model-registry"),
            variables.get("TOPIC", "fine-tuning.checkpoint-ready"),
            None if level == "client_default" else level,
        )
