"""How long to wait before another attempt. Pure, except for the jitter."""

import email.utils
import random
from http import HTTPStatus
from typing import Final

FIRST_DELAY_SECONDS: Final = 0.5
MAX_BACKOFF_SECONDS: Final = 30.0
RETRIED: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
SERVER_ERRORS: Final = range(500, 600)


def is_retried(status: int) -> bool:
    """Return whether another attempt may succeed after this status."""
    return status in RETRIED or status in SERVER_ERRORS


def backoff_seconds(attempt: int) -> float:
    """Return a delay with full jitter after the attempt of this number (0: the first)."""
    limit = min(MAX_BACKOFF_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(attempt, 16))
    return random.uniform(limit / 2, limit)  # noqa: S311 - spreads the load


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Return the delay that a `Retry-After` header asks for; None without a valid header.

    It is a number of seconds or a date (RFC 9110 section 10.2.3). `now` is epoch seconds.
    """
    if value is None:
        return None
    text = value.strip()
    if text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit():
        return float(text) if len(text) <= 12 else None  # noqa: PLR2004 - longer than any delay
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, moment.timestamp() - now)
