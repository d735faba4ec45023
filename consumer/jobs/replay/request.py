"""What a person asked to be replayed: checked before anything is connected."""

import hashlib
import re
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.config.parsing import TOPIC_NAME
from consumer.errors import ConfigError
from consumer.jobs.ranges import RangeSpec, parse_range

NAME: Final = re.compile(r"[a-zA-Z0-9._][a-zA-Z0-9._-]{0,99}")
_NAME_BYTES: Final = 4

Arguments = dict[str, str | int | list[str] | None]


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The command's options; `arguments` are those that make it the same replay."""

    starts: list[str]
    ends: list[str]
    job: str | None
    id: str | None
    model: str | None
    max_events: int | None
    target: str
    name: str
    is_named: bool = False
    """Whether a person gave the name; else it is made from the arguments."""
    rate: int | None
    allow_truncated: bool

    @property
    def arguments(self) -> Arguments:
        """What decides which events are published; a resumed replay must have the same."""
        return {
            "target": self.target,
            "from": self.starts,
            "to": self.ends,
            "job": self.job,
            "id": self.id,
            "model": self.model,
            "max_events": self.max_events,
        }

    @property
    def is_relative(self) -> bool:
        """Whether the same words mean another range at another time."""
        return not self.ends or any(t.startswith("-") for t in (*self.starts, *self.ends))

    def range(self, now_ms: int) -> RangeSpec:
        """Return the range that the words mean at this time."""
        return parse_range(self.starts, self.ends, now_ms)


def default_target(settings: Settings) -> str:
    """Return where replayed events go if nothing else is said."""
    return f"{settings.output_topic}.replay"


def check_request(settings: Settings, request: ReplayRequest, *, to_live: bool) -> ReplayRequest:
    """Return the request, named by its arguments where it has no name.

    Raises:
        ConfigError: the target is a topic that must not be written to, or the name is none.
    """
    target = request.target
    if to_live and target:
        raise ConfigError("--to-live and --target exclude each other")
    target = settings.output_topic if to_live else target or default_target(settings)
    if not TOPIC_NAME.fullmatch(target) or target in {".", ".."}:
        raise ConfigError(f"--target: {target!r} is no topic name")
    if target == settings.output_topic and not to_live:
        raise ConfigError(
            f"--target: {target} is the live ready topic; its subscribers would see the events "
            "again. Say --to-live if that is what you want"
        )
    others = {
        **dict.fromkeys(settings.input_topics, "an input topic, which is what is replayed"),
        settings.dead_letter_topic: "the dead-letter topic",
        settings.changelog_topic: "the changelog",
        settings.repartition_topic: "the repartition topic",
        settings.jobs_topic: "the journal of jobs",
    }
    if target in others:
        raise ConfigError(f"--target: {target} is {others[target]}; choose another one")
    named = msgspec.structs.replace(request, target=target)
    try:
        msgspec.json.encode(named.arguments)
    except UnicodeEncodeError:
        raise ConfigError("--job, --id and --model must be UTF-8") from None
    name = request.name or _name_of(named.arguments)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--name: {name!r} must be 1 to 100 letters, digits, '.', '_' or '-', the first no '-'"
        )
    return msgspec.structs.replace(named, name=name, is_named=bool(request.name))


def _name_of(arguments: Arguments) -> str:
    digest = hashlib.blake2b(
        msgspec.json.encode(arguments, order="sorted"), digest_size=_NAME_BYTES
    )
    return f"replay-{digest.hexdigest()}"
