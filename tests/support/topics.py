"""The topics of one consumer group, by their roles."""

from __future__ import annotations

from typing import Any, NamedTuple


class Names(NamedTuple):
    """Names under a prefix that only one test uses."""

    prefix: str

    def topic(self, role: str = "input") -> str:
        """Return the name of a topic."""
        return f"{self.prefix}.{role}"

    def group(self, role: str = "group") -> str:
        """Return the name of a consumer group (or a transactional id)."""
        return f"{self.prefix}.{role}"

    def topics(self) -> Topics:
        """Return the topics of the group."""
        return Topics(
            self.group(), self.topic("input"), self.topic("ready"), self.topic("dead-letters")
        )


class Topics(NamedTuple):
    """The topics of one group: its input, its outputs and its internal topics."""

    group: str
    input: str
    ready: str
    dead_letters: str
    shards: int = 0  # 0: unknown

    @property
    def changelog(self) -> str:
        """The group's changelog."""
        return f"{self.group}.changelog"

    @property
    def repartition(self) -> str:
        """The group's repartition topic."""
        return f"{self.group}.repartition"

    @property
    def all(self) -> tuple[str, ...]:
        """The names of all of them."""
        return (self.input, self.ready, self.dead_letters, self.changelog, self.repartition)

    def settings(self, bootstrap_servers: str) -> dict[str, Any]:
        """Return the variables of a service on these topics, without their prefix."""
        return {
            "BOOTSTRAP_SERVERS": bootstrap_servers,
            "GROUP_ID": self.group,
            "INPUT_TOPICS": self.input,
            "OUTPUT_TOPIC": self.ready,
            "DEAD_LETTER_TOPIC": self.dead_letters,
            "HTTP_PORT": 0,
            "LOG_FORMAT": "json",
        }
