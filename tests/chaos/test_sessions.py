"""The judgement about logins: what a log says, and which fault explains it."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.run_history import Outcome
from tests.chaos.schedule import PLANS, Kind, draw_faults
from tests.chaos.sessions import (
    EndedSession,
    LoginFailure,
    ended_sessions,
    is_login_failure,
    judge_logins,
)

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = datetime(2026, 1, 2, 3, 4, 5, 678_000).astimezone().timestamp()
LOG = """\
2026-01-02T03:04:05,678 DEBUG Processor Disconnecting expired channel: 127.0.0.1:1-127.0.0.1:2-3
2026-01-02T03:04:05,700 DEBUG Processor Processor 1 listening to new connection from /127.0.0.1:1
2026-01-02T03:04:06,678 INFO  Selector [SocketServer listenerType=BROKER, nodeId=2] Failed \
re-authentication with /127.0.0.1 (channelId=7) ({"status":"invalid_token"})
	at org.apache.kafka.common.network.Selector.poll(Selector.java:1)
2026-01-02T03:04:07,678 INFO  Selector [SocketServer listenerType=BROKER, nodeId=2] Failed \
authentication with /127.0.0.1 (channelId=8) (Unexpected Kafka request)
"""
FAILURES: dict[str, dict[str, Any]] = {
    "no token": {
        "event": "task_failed",
        "error": "open the writer: broker 1 cannot be reached (the token endpoint answered 503)",
    },
    "no token within the time": {"event": "task_failed", "error": "start: no token within 20 s"},
    "a refused token": {"event": "membership_error", "error": "the broker refused the token (x)"},
    "a refused password": {"event": "task_failed", "error": "the broker refused the credentials"},
    "the end of the token": {"event": "token_ended", "error": "answered 503"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "a broken connection": {"event": "task_failed", "error": "Connection at 127.0.0.1:1 closed"},
    "a renewal that is repeated": {"event": "token_not_renewed", "error": "no token within 20 s"},
    "no event": {"text": "a token"},
}
TOKENS = (Kind.TOKENS_DOWN, Kind.TOKENS_HANG)


def outcome_of(kind: Kind) -> Outcome:
    """Return a fault of this kind that lasted for two seconds from BEGIN on."""
    faults = islice(draw_faults(7, PLANS[kind].lane, has_tokens=True), 20)
    outcome = Outcome(next(fault for fault in faults if fault.kind is kind))
    outcome.began, outcome.ended = BEGIN, BEGIN + 2
    return outcome


def test_the_log_of_a_broker_names_sessions_that_ended(tmp_path: Path) -> None:
    """A session that ended, a refused renewal and a refused login are found, with their times."""
    path = tmp_path / "broker.log"
    path.write_text(LOG)
    found = ended_sessions({2: path})
    assert [session.time - BEGIN for session in found] == pytest.approx([0, 1, 2])
    assert {session.node for session in found} == {2}
    assert "invalid_token" in found[1].text


@pytest.mark.parametrize("line", FAILURES.values(), ids=FAILURES)
def test_a_line_about_a_missing_login_is_recognized(line: dict[str, Any]) -> None:
    """The line is a violation unless the token endpoint is broken, or was until just now."""
    assert is_login_failure(line)
    is_restart = line["event"] == "task_failed"
    for seconds, unexplained in ((-1, 1), (1, 0), (20, 0), (60, 1)):
        failure = LoginFailure(BEGIN + seconds, 1, line)
        for kind in TOKENS:
            verdict = judge_logins([outcome_of(kind)], [failure], [])
            assert len(verdict.violations) == unexplained
            assert verdict.facts["shard_restarts_without_login"] == is_restart
            assert verdict.facts["shard_restarts_without_login_unexplained"] == (
                unexplained * is_restart
            )
        for kind in (Kind.ZOMBIE_STATIC, Kind.FREEZE_BROKER, Kind.CUT_BROKER):
            assert judge_logins([outcome_of(kind)], [failure], []).violations


@pytest.mark.parametrize("line", OTHERS.values(), ids=OTHERS)
def test_other_lines_are_none(line: dict[str, Any]) -> None:
    """A task that fails for another reason says nothing about logins."""
    assert not is_login_failure(line)


def test_a_session_may_end_only_while_its_login_cannot_be_renewed() -> None:
    """A frozen process explains it; connections that are cut do not."""
    session = EndedSession(BEGIN + 1, 2, "Disconnecting expired channel")
    for kind in (*TOKENS, Kind.ZOMBIE_DYNAMIC, Kind.KILL_LEADER, Kind.DELAY_END_TXN):
        assert not judge_logins([outcome_of(kind)], [], [session]).violations
        assert judge_logins([outcome_of(kind)], [], [session._replace(time=BEGIN - 1)]).violations
        assert judge_logins([outcome_of(kind)], [], [session._replace(time=BEGIN + 60)]).violations
    for kind in (Kind.KILL_STATIC, Kind.CUT_SERVICE, Kind.DELAY_BROKER):
        verdict = judge_logins([outcome_of(kind)], [], [session])
        assert verdict.facts["sessions_ended_or_refused_unexplained"] == 1
        (violation,) = verdict.violations
        assert "broker 2" in violation
