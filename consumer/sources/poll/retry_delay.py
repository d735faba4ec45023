"""How long to wait before another attempt. Pure, except for the jitter."""

import datetime as dt
import email.utils
import random
from http import HTTPStatus
from typing import Final

FIRST_DELAY_SECONDS: Final = 0.5
MAX_BACKOFF_SECONDS: Final = 30.0
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""The longest time for which a `Retry-After` stops an account.

Some senders of the header mean a time, not a delay: `1764256000` is a date in 2025, or 56 years.
"""
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

    It is a number of seconds or a date (RFC 9110 section 10.2.3), and may be longer than
    `MAX_RETRY_AFTER_SECONDS`. `now` is epoch seconds.
    """
    if value is None:
        return None
    text = value.strip()
    digits = text.replace(".", "", 1)
    if digits.isascii() and digits.isdigit():
        return float(text)  # infinite with hundreds of digits
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
