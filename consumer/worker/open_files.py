"""How many open files (sockets) a process needs, and the limit of open files (RLIMIT_NOFILE).

A shard has one connection to each broker for its producer, another for its consumer, and one to its
transaction coordinator. One process may get every shard of the group. At the limit, each new
connection fails with "Too many open files", so the shards would fail one after the other.
"""

import resource
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

# For the process itself: standard streams, event loop, logs, libraries, up to 64 HTTP connections.
ROOM: Final = 128
# Clients besides those of the shards: membership, administration, lag of idle shards, and the
# measurement of the repartition topic.
OTHER_CLIENTS: Final = 4
RAISE_HARD_LIMIT: Final = (
    "raise the hard limit of open files to {needed} or more (ulimit -Hn, LimitNOFILE= of systemd, "
    "--ulimit nofile= of docker), or run more processes with fewer shards each"
)
Limit = tuple[int, int]
log = structlog.get_logger(__name__)


class Needs(NamedTuple):
    """What a process needs if it runs every shard."""

    open_files: int
    connections: int
    """To one broker."""


def needs_of(shards: int, brokers: int) -> Needs:
    """Return what a process needs to run all shards."""
    return Needs(needed_open_files(shards, brokers), needed_connections(shards))


def needed_connections(shards: int) -> int:
    """Return how many connections a process needs to one broker to run all shards.

    One broker may be the coordinator of every shard.
    """
    return shards * 3 + OTHER_CLIENTS * 2


def needed_open_files(shards: int, brokers: int) -> int:
    """Return how many open files a process needs to run all shards."""
    return shards * (2 * brokers + 1) + OTHER_CLIENTS * (brokers + 1) + ROOM


def raise_open_files_limit(
    get: Callable[[], Limit] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
    set_limit: Callable[[Limit], None] = lambda it: resource.setrlimit(resource.RLIMIT_NOFILE, it),
) -> int:
    """Raise the soft limit to the hard limit, as servers do, and return the limit in force.

    The usual soft limit of 1,024 protects programs that use select(2). This program uses epoll.
    """
    soft, hard = get()
    if soft != hard:
        try:
            set_limit((hard, hard))
        except (OSError, ValueError):  # a sandbox may forbid it; the soft limit stays
            return soft
    return hard


def report_open_files(limit: int, shards: int, brokers: int) -> None:
    """Log the limit, and how many open files all shards need; warn if the limit is too low."""
    needed, connections = needs_of(shards, brokers)
    fields = {"limit": limit, "needed": needed, "shards": shards, "brokers": brokers}
    fields["connections_per_broker"] = connections
    if limit == resource.RLIM_INFINITY or limit >= needed:
        log.info("open_files", **fields)
        return
    log.warning(
        "open_files_limit_too_low",
        **fields,
        hint=RAISE_HARD_LIMIT.format(needed=needed),
    )
