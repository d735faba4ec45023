"""One token for all connections of a process, renewed before its end."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from consumer.kafka.tokens.token import Token, TokenLife, TokenRefused, TokenUnavailable

log = structlog.get_logger(__name__)

# A connection logs in again after 70 to 85% of its session, which ends with its token at the latest
# (LOGIN_AT in ``private_connection``). Before 70% of a token's life there must be a new token.
RENEW_AT: Final = (0.55, 0.65)
# The defaults of Kafka's `sasl.login.retry.backoff.ms` and `sasl.login.retry.backoff.max.ms`.
FIRST_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 10.0
LEAST_RENEWAL_SECONDS: Final = 1.0
FETCH_SECONDS: Final = 20.0
# The claim `exp` is in whole seconds, so a token may end a second before its lifetime is over. A
# broker would refuse it then, as if an operator had to fix something.
LAST_SECONDS: Final = 1.0
# Tokens that live for seconds only, as in tests, must not lose half of their life.
LAST_SHARE: Final = 0.1

Failure = TokenRefused | TokenUnavailable


class SharedToken:
    """Fetches a token, one request at a time, and holds it until a new one replaces it.

    A timer fetches the next token. So a login never waits for an endpoint that is slow or down
    while the present token is valid.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`fetch` raises TokenRefused or TokenUnavailable. Its time is limited here."""
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._valid_until = 0.0
        self._failure: Failure | None = None
        self._failures = 0
        self._has_ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._attempt: asyncio.Task[Token | Failure] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def extensions(self) -> dict[str, str]:
        """Return none."""
        return {}

    def life(self) -> TokenLife | None:
        """Return how long the present token is valid; None before the first one."""
        if self._token is None:
            return None
        return TokenLife(self._valid_until - self._clock(), self._token.lifetime_seconds)

    async def value(self) -> str:
        """Return the present token, or the first one.

        Raises:
            TokenRefused, TokenUnavailable: no token is valid, and the last attempt failed. After a
                failure the next attempt waits, however many logins ask for a token.
        """
        self._use_running_loop()
        if self._token is not None and self._clock() < self._valid_until:
            return self._token.value.reveal()
        if self._attempt is None and self._failure is not None and self._timer is not None:
            raise self._failure
        outcome = await asyncio.shield(self._attempt or self._begin())
        if isinstance(outcome, Token):
            return outcome.value.reveal()
        raise outcome

    def _use_running_loop(self) -> None:
        """Forget the timer of a loop that has ended, and renew an old token at once."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        is_first = self._loop is None
        self._loop, self._attempt, self._timer = loop, None, None
        if not is_first and self._token is not None:
            self._begin()

    def _begin(self) -> "asyncio.Task[Token | Failure]":
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._attempt = attempt = asyncio.create_task(self._try(), name="token")
        attempt.add_done_callback(partial(self._end, self._clock()))
        return attempt

    def _end(self, begin: float, attempt: "asyncio.Task[Token | Failure]") -> None:
        """Keep the outcome, and set the timer for the next attempt, however this one has ended.

        It runs before those that wait for the attempt go on.
        """
        if self._attempt is not attempt:
            return  # of a loop that has ended
        self._attempt = None
        if attempt.cancelled() or attempt.exception() is not None:
            pause = MAX_RETRY_SECONDS
        elif isinstance(outcome := attempt.result(), Token):
            pause = self._keep(outcome, begin)
        else:
            pause = self._record(outcome)
        self._timer = attempt.get_loop().call_later(pause, self._begin)

    async def _try(self) -> Token | Failure:
        """Fetch once. The outcome is returned, not raised."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._fetch()
        except TimeoutError:
            return TokenUnavailable(f"no token within {FETCH_SECONDS:g} s")
        except (TokenRefused, TokenUnavailable) as error:
            return error
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return TokenUnavailable("the token could not be fetched (CancelledError)")
        except Exception as error:  # noqa: BLE001 - an attempt that dies would end all renewals
            return TokenUnavailable(f"the token could not be fetched ({type(error).__name__})")

    def _keep(self, token: Token, begin: float) -> float:
        """Replace the present token. Return the time until the next renewal (s)."""
        if self._failure is not None and self._token is not None:
            log.info("token_renewed", failed_attempts=self._failures)
        self._failure, self._failures, self._has_ended = None, 0, False
        self._token = token
        last = min(LAST_SECONDS, token.lifetime_seconds * LAST_SHARE)
        self._valid_until = begin + token.lifetime_seconds - last
        # The spread keeps many processes from asking the endpoint at once.
        share = random.uniform(*RENEW_AT)  # noqa: S311 - no secret
        return max(LEAST_RENEWAL_SECONDS, token.lifetime_seconds * share)

    def _record(self, failure: Failure) -> float:
        """Note a failed attempt; log its reason once. Return the time until the next one (s)."""
        is_new = self._failure is None or str(self._failure) != str(failure)
        # Before the first token the callers report the failure.
        if self._token is not None:
            left = self._valid_until - self._clock()
            if is_new and left > 0:
                log.warning("token_not_renewed", error=str(failure), valid_seconds=round(left, 1))
            elif left <= 0 and not self._has_ended:
                log.error("token_ended", error=str(failure))
                self._has_ended = True
        self._failure = failure
        ceiling = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        return ceiling * random.uniform(0.5, 1)  # noqa: S311 - no secret
