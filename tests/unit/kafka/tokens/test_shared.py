"""One token for all logins: fetched once, renewed in time, retried with a growing pause."""

from __future__ import annotations

import asyncio
import concurrent.futures

import pytest
import structlog

from consumer.kafka.tokens.shared import SharedToken
from consumer.kafka.tokens.threads import SingleThread
from consumer.kafka.tokens.token import Token, TokenRefused, TokenUnavailable
from tests.support.waiting import wait_until_async


class Endpoint:
    """Gives numbered tokens, or fails."""

    def __init__(self, lifetime_seconds: float = 3600.0) -> None:
        """Begin without a failure."""
        self.lifetime_seconds = lifetime_seconds
        self.failure: BaseException | None = None
        self.requests = 0
        self.running = 0
        self.hold: asyncio.Event | None = None

    async def fetch(self) -> Token:
        """Return the next token."""
        self.requests += 1
        self.running += 1
        assert self.running == 1  # one request at a time
        try:
            await (self.hold.wait() if self.hold else asyncio.sleep(0))
            if self.failure is not None:
                raise self.failure
            return Token.of(f"token-{self.requests}", self.lifetime_seconds)
        finally:
            self.running -= 1


async def test_many_logins_share_one_request() -> None:
    """All that ask at the same time, and all after them."""
    endpoint = Endpoint()
    shared = SharedToken(endpoint.fetch)
    values = await asyncio.gather(*(shared.value() for _ in range(20)))
    assert {*values, await shared.value()} == {"token-1"}
    assert endpoint.requests == 1


async def test_a_login_that_is_cancelled_does_not_stop_the_request() -> None:
    """The others still get the token."""
    endpoint = Endpoint()
    endpoint.hold = asyncio.Event()
    shared = SharedToken(endpoint.fetch)
    first, second = (asyncio.create_task(shared.value()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    endpoint.hold.set()
    assert await second == "token-1"
    assert endpoint.requests == 1


async def test_a_token_is_renewed_before_its_end_without_a_login() -> None:
    """A login finds the new token, and never waits for the endpoint."""
    endpoint = Endpoint(lifetime_seconds=1.0)
    shared = SharedToken(endpoint.fetch)
    assert await shared.value() == "token-1"
    await wait_until_async(lambda: endpoint.requests >= 2 and not endpoint.running)
    assert await shared.value() != "token-1"


async def test_there_is_a_new_token_before_connections_log_in_again() -> None:
    """They do after 70 to 85% of their session. The timer is not later than that."""
    endpoint = Endpoint(lifetime_seconds=3600.0)
    shared = SharedToken(endpoint.fetch)
    await shared.value()
    timer = shared._timer  # noqa: SLF001 - its time is what counts
    assert timer is not None
    left = timer.when() - asyncio.get_running_loop().time()
    assert 3600 * 0.5 < left < 3600 * 0.7


async def test_the_present_token_is_used_while_the_endpoint_hangs() -> None:
    """A login does not wait."""
    endpoint = Endpoint(lifetime_seconds=30.0)
    clock = 0.0
    shared = SharedToken(endpoint.fetch, lambda: clock)
    assert await shared.value() == "token-1"
    endpoint.hold = asyncio.Event()
    shared._begin()  # noqa: SLF001 - as its timer does
    clock = 28.9
    await wait_until_async(lambda: endpoint.running == 1)
    async with asyncio.timeout(10):  # the endpoint never answers
        assert await shared.value() == "token-1"


async def test_the_last_second_of_a_token_is_not_used() -> None:
    """A broker may refuse it already, because a token ends at a whole second."""
    endpoint = Endpoint(lifetime_seconds=30.0)
    clock = 0.0
    shared = SharedToken(endpoint.fetch, lambda: clock)
    assert await shared.value() == "token-1"
    clock = 29.1
    assert await shared.value() == "token-2"


async def test_its_life_is_known() -> None:
    """Until the last second, which is not used, and after the end too."""
    endpoint = Endpoint(lifetime_seconds=30.0)
    clock = 0.0
    shared = SharedToken(endpoint.fetch, lambda: clock)
    assert shared.life() is None
    await shared.value()
    assert shared.life() == (29.0, 30.0)
    endpoint.failure = TokenUnavailable("answered 503")
    clock = 40.0
    assert shared.life() == (-11.0, 30.0)


async def test_an_outage_is_logged_once_and_ends() -> None:
    """Its reason, for how long the present token is valid, its end, and the recovery."""
    endpoint = Endpoint(lifetime_seconds=30.0)
    clock = 0.0
    shared = SharedToken(endpoint.fetch, lambda: clock)
    await shared.value()
    endpoint.failure = TokenUnavailable("answered 503")
    with structlog.testing.capture_logs() as lines:
        clock = 18.0
        shared._begin()  # noqa: SLF001 - as its timer does
        await wait_until_async(lambda: endpoint.requests >= 4)
        clock = 29.5
        await wait_until_async(lambda: "token_ended" in {line["event"] for line in lines})
        endpoint.failure = None
        await wait_until_async(lambda: lines[-1]["event"] == "token_renewed")
    assert [line["event"] for line in lines] == [
        "token_not_renewed",
        "token_ended",
        "token_renewed",
    ]
    assert lines[0]["error"] == "answered 503"
    assert lines[0]["valid_seconds"] == 11.0
    assert (await shared.value()).startswith("token-")


async def test_the_pauses_between_attempts_grow() -> None:
    """An endpoint in trouble gets few requests."""
    shared = SharedToken(Endpoint().fetch)
    pauses = [shared._record(TokenUnavailable("no")) for _ in range(40)]  # noqa: SLF001 - the pauses are its result
    for attempt, pause in enumerate(pauses):
        ceiling = min(10.0, 0.1 * 2**attempt)
        assert ceiling / 2 <= pause <= ceiling


@pytest.mark.parametrize("kind", [TokenRefused, TokenUnavailable])
async def test_logins_without_a_token_get_the_reason(kind: type[Exception]) -> None:
    """Further logins do not cause further requests before the pause is over."""
    endpoint = Endpoint()
    endpoint.failure = kind("no")
    shared = SharedToken(endpoint.fetch)
    for _ in range(20):
        with pytest.raises(kind, match="no"):
            await shared.value()
    assert endpoint.requests == 1
    endpoint.failure = None
    await wait_until_async(lambda: endpoint.requests == 2)
    await asyncio.sleep(0)
    assert await shared.value() == "token-2"


def test_a_second_event_loop_continues_with_the_token() -> None:
    """A command may run several loops one after the other."""
    endpoint = Endpoint()
    shared = SharedToken(endpoint.fetch)

    async def twice() -> str:
        await shared.value()
        await asyncio.sleep(0)
        return await shared.value()

    assert asyncio.run(twice()) == "token-1"
    assert asyncio.run(twice()) in {"token-1", "token-2"}
    assert endpoint.requests == 2


async def test_a_token_that_has_ended_already_does_not_cause_a_storm() -> None:
    """The broker refuses it, and says so. The endpoint is not asked all the time."""
    endpoint = Endpoint(lifetime_seconds=-5.0)
    shared = SharedToken(endpoint.fetch)
    assert await shared.value() == "token-1"
    assert await shared.value() == "token-2"  # once for each login
    await asyncio.sleep(0.05)
    assert endpoint.requests == 2


async def test_a_failure_of_any_kind_is_tried_again() -> None:
    """A bug of a provider must not end the renewals: the next attempt gets a token."""
    endpoint = Endpoint()
    endpoint.failure = UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "planted")
    shared = SharedToken(endpoint.fetch)
    with pytest.raises(TokenUnavailable, match=r"could not be fetched \(UnicodeDecodeError\)"):
        await shared.value()
    endpoint.failure = None
    await wait_until_async(lambda: endpoint.requests == 2)
    assert await shared.value() == "token-2"


@pytest.mark.parametrize("error", [concurrent.futures.CancelledError, StopIteration, SystemExit])
async def test_an_error_of_a_thread_that_would_end_a_task_is_tried_again(
    error: type[BaseException],
) -> None:
    """The event loop takes some errors for a cancellation of the awaiting task."""
    calls: list[str] = []
    thread = SingleThread("token")

    def call() -> Token:
        calls.append("call")
        if len(calls) == 1:
            raise error
        return Token.of("token-2", 3600.0)

    shared = SharedToken(lambda: thread.run(call))
    async with asyncio.timeout(10):
        with pytest.raises(TokenUnavailable, match=r"could not be fetched \(RuntimeError\)"):
            await shared.value()
        await wait_until_async(lambda: len(calls) == 2)
        assert await shared.value() == "token-2"


async def test_a_fetch_that_cancels_itself_is_tried_again() -> None:
    """Nothing else has cancelled it."""
    endpoint = Endpoint()
    endpoint.failure = asyncio.CancelledError()
    shared = SharedToken(endpoint.fetch)
    with pytest.raises(TokenUnavailable, match=r"could not be fetched \(CancelledError\)"):
        await shared.value()
    endpoint.failure = None
    await wait_until_async(lambda: endpoint.requests == 2 and not endpoint.running)
    assert await shared.value() == "token-2"


async def test_an_attempt_that_is_cancelled_does_not_end_the_renewals() -> None:
    """Something has cancelled all tasks of the loop, for example, and the loop goes on."""
    endpoint = Endpoint()
    shared = SharedToken(endpoint.fetch)
    await shared.value()
    endpoint.hold = asyncio.Event()
    attempt = shared._begin()  # noqa: SLF001 - as its timer does
    await wait_until_async(lambda: endpoint.running == 1)
    attempt.cancel()
    await asyncio.wait([attempt])
    await asyncio.sleep(0)  # the callback of the task
    timer = shared._timer  # noqa: SLF001 - without it there is no further attempt
    assert timer is not None
    assert not timer.cancelled()
    endpoint.hold.set()
    await shared._begin()  # noqa: SLF001 - as its timer does
    assert await shared.value() == "token-3"
