"""The options of a replay, checked before the command connects to Kafka."""

import hashlib
import re
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import ConfigError
from consumer.jobs.ranges import RangeSpec, parse_range
from consumer.jobs.replay.target import allowed_target

NAME: Final = re.compile(r"[a-zA-Z0-9._][a-zA-Z0-9._-]{0,99}")
_NAME_BYTES: Final = 4

Arguments = dict[str, str | int | list[str] | None]


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command."""

    starts: list[str]
    ends: list[str]
    job: str | None
    id: str | None
    model: str | None
    max_events: int | None
    target: str
    name: str
    is_named: bool = False
    """Whether the user gave the name; otherwise it is a digest of the arguments."""
    rate: int | None
    allow_truncated: bool

    @property
    def arguments(self) -> Arguments:
        """The options that select the events; a resumed replay must have the same ones."""
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
        """Whether the same options select another range at another time."""
        return not self.ends or any(t.startswith("-") for t in (*self.starts, *self.ends))

    def range(self, now_ms: int) -> RangeSpec:
        """Return the range that the options select at this time."""
        return parse_range(self.starts, self.ends, now_ms)


def check_request(settings: Settings, request: ReplayRequest, *, to_live: bool) -> ReplayRequest:
    """Return the request with its target and its name filled in.

    Raises:
        ConfigError: a replay must not write to this target, or the value of another option is
            not valid.
    """
    target = allowed_target(settings, request.target, to_live=to_live)
    request = msgspec.structs.replace(request, target=target)
    try:
        msgspec.json.encode(request.arguments)
    except UnicodeEncodeError:
        raise ConfigError("--job, --id and --model must be UTF-8") from None
    name = request.name or _default_name(request.arguments)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--name: {name!r} must be 1 to 100 letters, digits, '.', '_' or '-', and must not "
            "begin with '-'"
        )
    return msgspec.structs.replace(request, name=name, is_named=bool(request.name))


def _default_name(arguments: Arguments) -> str:
    digest = hashlib.blake2b(
        msgspec.json.encode(arguments, order="sorted"), digest_size=_NAME_BYTES
    )
    return f"replay-{digest.hexdigest()}"
