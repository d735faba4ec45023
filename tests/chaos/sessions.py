"""Judges the logins of a run: while logins can be renewed, no session ends and no shard restarts.

The logs of the brokers name each connection that they closed because its session had ended, and
each login that they refused. The service cannot tell such a connection from a broken one. The logs
of the services name the tasks that failed because there was no login.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.chaos.findings import Findings
from tests.chaos.schedule import PLANS, Kind, Lane

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from tests.chaos.run_history import Outcome
    from tests.support.service_process import Line

SHOW_ENDED_SESSIONS: Final = "-Dconnections.log.level=debug"
BROKER_LINE: Final = re.compile(
    r"(?P<time>\S+) \w+ +\S+ .*?"
    r"(?P<what>Disconnecting expired channel|Failed (?:re-)?authentication)"
)
# What the service says of a token or a password in the error of a task.
LOGIN_WORDS: Final = re.compile(r"\btoken\b|refused the credentials|\blogin\b|\blog in\b")
SESSION, FAILURE = "a login was not renewed in time", "a service could not log in"
SHOWN_CHARS = 400

# The faults after which a service may have no token, and for how long after their end (s): it asks
# again after 10 s at most, and the request may take 10 s.
TOKEN_FAULTS: Final = {Kind.TOKENS_DOWN: 25.0, Kind.TOKENS_HANG: 25.0}
# The same for sessions that may end; a broker notices it at the next request. A frozen process
# renews no login. A broker handles the requests of a connection one after the other: a renewal
# waits behind a request that is late on its way, or that waits for the replica of a broker that is
# down. With a quota the broker reads late from a connection.
SESSION_FAULTS: Final = TOKEN_FAULTS | dict.fromkeys(
    (
        Kind.ZOMBIE_STATIC,
        Kind.ZOMBIE_DYNAMIC,
        Kind.TRANSACTION_TIMEOUT,
        Kind.DELAY_END_TXN,
        Kind.DELAY_INIT_PRODUCER_ID,
        Kind.QUOTA,
        *(kind for kind, plan in PLANS.items() if plan.lane is Lane.BROKERS),
    ),
    10.0,
)


class EndedSession(NamedTuple):
    """A connection that a broker closed because its login had ended or was refused."""

    time: float
    node: int
    text: str


class LoginFailure(NamedTuple):
    """A line of a service about a missing or refused login."""

    time: float
    place: int
    line: Line


class LoginVerdict(NamedTuple):
    """The violations (an empty list if there are none), and the figures."""

    violations: list[str]
    facts: dict[str, int]


def ended_sessions(logs: Mapping[int, Path]) -> list[EndedSession]:
    """Return what the logs of the brokers ({node: path}) say about ended and refused logins."""
    found = []
    for node, path in logs.items():
        with path.open(encoding="utf-8", errors="replace") as log:
            for line in log:
                if match := BROKER_LINE.match(line):
                    # Local time without a zone.
                    time = datetime.fromisoformat(match["time"]).astimezone().timestamp()
                    found.append(EndedSession(time, node, line.strip()[:SHOWN_CHARS]))
    return found


def is_login_failure(line: Line) -> bool:
    """Return whether a line of a service says that something failed for want of a login."""
    if line.get("event") == "token_ended":
        return True
    is_failure = line.get("event") in {"task_failed", "membership_error"}
    return is_failure and bool(LOGIN_WORDS.search(str(line.get("error"))))


def judge_logins(
    outcomes: Collection[Outcome],
    failures: Iterable[LoginFailure],
    sessions: Iterable[EndedSession],
) -> LoginVerdict:
    """Return what happened to the logins; outside of the faults that explain it: a violation."""
    findings = Findings()
    facts = {
        "shard_restarts_without_login": 0,
        "shard_restarts_without_login_unexplained": 0,
        "sessions_ended_or_refused": 0,
        "sessions_ended_or_refused_unexplained": 0,
    }
    for failure in failures:
        is_restart = failure.line["event"] == "task_failed"
        facts["shard_restarts_without_login"] += is_restart
        if not _is_explained(failure.time, outcomes, TOKEN_FAULTS):
            facts["shard_restarts_without_login_unexplained"] += is_restart
            findings.add(FAILURE, f"place {failure.place} logged {failure.line}")
    for session in sessions:
        facts["sessions_ended_or_refused"] += 1
        if not _is_explained(session.time, outcomes, SESSION_FAULTS):
            facts["sessions_ended_or_refused_unexplained"] += 1
            findings.add(SESSION, f"broker {session.node} logged {session.text}")
    return LoginVerdict(findings.sentences(), facts)


def _is_explained(time: float, outcomes: Iterable[Outcome], faults: Mapping[Kind, float]) -> bool:
    return any(
        outcome.began <= time <= outcome.ended + faults[outcome.fault.kind]
        for outcome in outcomes
        if outcome.fault.kind in faults
    )
