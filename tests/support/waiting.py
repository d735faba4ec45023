"""Polls a condition until a deadline. No test sleeps for a fixed time instead."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value = TypeVar("Value")

POLL_SECONDS = 0.02


class DeadlineExceeded(AssertionError):
    """The condition was not met in time."""


def wait_until(
    condition: Callable[[], Value | None],
    deadline_seconds: float = 20.0,
    *,
    what: str = "the condition",
    poll_seconds: float = POLL_SECONDS,
) -> Value:
    """Call `condition` until it returns a true value, and return that value."""
    deadline = time.monotonic() + deadline_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            message = f"{what} did not come within {deadline_seconds} s (last: {value!r})"
            raise DeadlineExceeded(message)
        time.sleep(poll_seconds)
    return value


async def wait_until_async(
    condition: Callable[[], Value | Awaitable[Value]],
    deadline_seconds: float = 20.0,
    *,
    what: str = "the condition",
    poll_seconds: float = POLL_SECONDS,
) -> Value:
    """Do the same as `wait_until` in a coroutine. The condition may be a coroutine function."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        value = condition()
        if not isinstance(value, bool | int | str | bytes) and asyncio.iscoroutine(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]  # awaited above when it was a coroutine
        if time.monotonic() > deadline:
            message = f"{what} did not come within {deadline_seconds} s (last: {value!r})"
            raise DeadlineExceeded(message)
        await asyncio.sleep(poll_seconds)
