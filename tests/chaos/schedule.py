"""What is broken when: drawn wholly from a seed, in three lanes that run side by side.

A lane holds faults that would spoil each other, one at a time; faults of different lanes overlap.
Each lane deals its kinds like a shuffled pack of cards: all of them before any comes again.
"""

from __future__ import annotations

import enum
import random
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lane(enum.StrEnum):
    """Faults that are never in force together."""

    SERVICES = "services"
    BROKERS = "brokers"
    NETWORK = "network"


class Kind(enum.StrEnum):
    """What is done to whom."""

    KILL_STATIC = "SIGKILL, static member"
    KILL_DYNAMIC = "SIGKILL, dynamic member"
    TERMINATE_STATIC = "SIGTERM, static member"
    TERMINATE_DYNAMIC = "SIGTERM, dynamic member"
    ZOMBIE_STATIC = "zombie (SIGSTOP, SIGCONT), static member"
    ZOMBIE_DYNAMIC = "zombie (SIGSTOP, SIGCONT), dynamic member"
    TRANSACTION_TIMEOUT = "transaction timeout (frozen with an EndTxn on its way)"
    SCALE = "scaling 1→4→2"
    ADD_PARTITIONS = "input partitions added"
    DELETE_OFFSETS = "group's input offsets deleted, live"
    DELETE_GROUP = "group deleted, all services down"
    OPEN_TRANSACTION = "foreign transaction left open in the input"
    KILL_TRANSACTION_COORDINATOR = "broker killed, transaction coordinator"
    KILL_GROUP_COORDINATOR = "broker killed, group coordinator"
    KILL_LEADER = "broker killed, partition leader"
    RESTART_TRANSACTION_COORDINATOR = "broker restarted, transaction coordinator"
    RESTART_GROUP_COORDINATOR = "broker restarted, group coordinator"
    RESTART_LEADER = "broker restarted, partition leader"
    FREEZE_BROKER = "broker frozen (SIGSTOP, SIGCONT)"
    CHANGE_ADDRESSES = "advertised addresses of all brokers changed"
    CUT_BROKER = "connections cut, all services to a broker"
    CUT_SERVICE = "connections cut, a service to all brokers"
    DELAY_BROKER = "requests delayed, all services to a broker"
    DELAY_SERVICE = "requests delayed, a service to all brokers"
    DELAY_END_TXN = "EndTxn delayed"
    DELAY_INIT_PRODUCER_ID = "InitProducerId delayed"
    FORGET_IDLE = "idle connections forgotten silently"
    QUOTA = "clients throttled by a quota"
    TOKENS_DOWN = "token endpoint down, beyond the end of all tokens"
    TOKENS_HANG = "token endpoint hangs"


class Range(NamedTuple):
    """Bounds of a number that is drawn."""

    least: float
    most: float


class Plan(NamedTuple):
    """The ranges of what is drawn for a kind of fault."""

    lane: Lane
    hold_seconds: Range = Range(0, 0)
    delay_seconds: Range = Range(0, 0)
    needs_tokens: bool = False
    """Whether it is drawn only if the services log in by tokens."""


class Fault(NamedTuple):
    """One fault as it was drawn; `victim` and `target` are places in [0, 1) of what there is."""

    lane: Lane
    number: int
    kind: Kind
    victim: float
    target: float
    hold_seconds: float
    delay_seconds: float
    pause_seconds: float


# Services run with a session timeout of 6 s and a transaction timeout of 5 s (fleet.py); brokers
# take note of the latter within a second more. Who is frozen sleeps longer than either.
ZOMBIE: Final = Range(7, 11)
PAUSE: Final = Range(4, 12)
PLANS: Final = {
    Kind.KILL_STATIC: Plan(Lane.SERVICES, Range(0, 8)),
    Kind.KILL_DYNAMIC: Plan(Lane.SERVICES, Range(0, 8)),
    Kind.TERMINATE_STATIC: Plan(Lane.SERVICES, Range(0, 4)),
    Kind.TERMINATE_DYNAMIC: Plan(Lane.SERVICES, Range(0, 4)),
    Kind.ZOMBIE_STATIC: Plan(Lane.SERVICES, ZOMBIE),
    Kind.ZOMBIE_DYNAMIC: Plan(Lane.SERVICES, ZOMBIE),
    Kind.TRANSACTION_TIMEOUT: Plan(Lane.SERVICES, Range(6.2, 7), Range(1, 9)),
    Kind.SCALE: Plan(Lane.SERVICES, Range(4, 8)),
    Kind.ADD_PARTITIONS: Plan(Lane.SERVICES),
    Kind.DELETE_OFFSETS: Plan(Lane.SERVICES),
    Kind.DELETE_GROUP: Plan(Lane.SERVICES, Range(0, 2)),
    Kind.OPEN_TRANSACTION: Plan(Lane.SERVICES, Range(3, 12)),
    Kind.KILL_TRANSACTION_COORDINATOR: Plan(Lane.BROKERS, Range(0, 8)),
    Kind.KILL_GROUP_COORDINATOR: Plan(Lane.BROKERS, Range(0, 8)),
    Kind.KILL_LEADER: Plan(Lane.BROKERS, Range(0, 8)),
    Kind.RESTART_TRANSACTION_COORDINATOR: Plan(Lane.BROKERS, Range(0, 3)),
    Kind.RESTART_GROUP_COORDINATOR: Plan(Lane.BROKERS, Range(0, 3)),
    Kind.RESTART_LEADER: Plan(Lane.BROKERS, Range(0, 3)),
    Kind.FREEZE_BROKER: Plan(Lane.BROKERS, Range(6, 20)),
    Kind.CHANGE_ADDRESSES: Plan(Lane.BROKERS),
    Kind.CUT_BROKER: Plan(Lane.NETWORK, Range(0, 8)),
    Kind.CUT_SERVICE: Plan(Lane.NETWORK, Range(0, 10)),
    Kind.DELAY_BROKER: Plan(Lane.NETWORK, Range(4, 10), Range(0.02, 0.5)),
    Kind.DELAY_SERVICE: Plan(Lane.NETWORK, Range(4, 10), Range(0.02, 0.5)),
    Kind.DELAY_END_TXN: Plan(Lane.NETWORK, Range(4, 10), Range(0.5, 7)),
    Kind.DELAY_INIT_PRODUCER_ID: Plan(Lane.NETWORK, Range(6, 12), Range(0.5, 12)),
    # Its delay is the time after which a connection is forgotten.
    Kind.FORGET_IDLE: Plan(Lane.NETWORK, Range(6, 12), Range(0.3, 3)),
    Kind.QUOTA: Plan(Lane.NETWORK, Range(4, 10)),
    # For so long there is no valid token; before that comes the life of a token.
    Kind.TOKENS_DOWN: Plan(Lane.NETWORK, Range(2, 10), needs_tokens=True),
    # Tokens of 40 s are renewed 14 to 18 s before their end. So some hangs end a token.
    Kind.TOKENS_HANG: Plan(Lane.NETWORK, Range(5, 30), needs_tokens=True),
}


def draw_faults(seed: int, lane: Lane, *, has_tokens: bool = False) -> Iterator[Fault]:
    """Yield the faults of a lane without end; the same seed gives the same ones.

    `has_tokens` adds the faults of the token endpoint.
    """
    drawing = random.Random(f"{seed}/{lane}")  # noqa: S311 - repeatable, not secret
    kinds = [
        kind
        for kind, plan in PLANS.items()
        if plan.lane is lane and (has_tokens or not plan.needs_tokens)
    ]
    number = 0
    while True:
        for kind in drawing.sample(kinds, len(kinds)):
            number += 1
            plan = PLANS[kind]
            yield Fault(
                lane=lane,
                number=number,
                kind=kind,
                victim=round(drawing.random(), 3),
                target=round(drawing.random(), 3),
                hold_seconds=round(drawing.uniform(*plan.hold_seconds), 3),
                delay_seconds=round(drawing.uniform(*plan.delay_seconds), 3),
                pause_seconds=round(drawing.uniform(*PAUSE), 3),
            )
