"""Decodes the pages of a list. Each element keeps its original bytes."""

import datetime as dt
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from consumer.sources.poll.errors import ListingFailed

T = TypeVar("T")

Query = dict[str, str]
"""The parameters of a request."""

MAX_ID_CHARS: Final = 32_768  # a longer id would not fit the service's changelog
MAX_JOB_ID_CHARS: Final = 1_000
"""The ids of all jobs are in memory, and each is part of a path."""
MAX_EPOCH_SECONDS: Final = 10**11
UNITS_PER_SECOND: Final = (1, 10**3, 10**6, 10**9)


class Job(NamedTuple):
    """A job in a listing."""

    id: str
    has_ended: bool
    created_at: float | None
    finished_at: float | None
    base_model: str | None


class Element(NamedTuple):
    """A checkpoint in a listing; ``value`` is its JSON."""

    id: str
    created_at: float | None
    value: bytes


class JobsPage(NamedTuple):
    """Jobs; ``next_after`` is the cursor of the next page, None at the end."""

    jobs: list[Job]
    next_after: str | None
    problems: list[str]


class CheckpointsPage(NamedTuple):
    """Checkpoints; ``next_after`` is the cursor of the next page, None at the end."""

    elements: list[Element]
    next_after: str | None
    problems: list[str]


class RawPage(msgspec.Struct):
    """A list response. OpenAI: `openapi.yaml`, ListFineTuningJobCheckpointsResponse."""

    data: list[msgspec.Raw]
    has_more: bool | None = False


_raw_page = msgspec.json.Decoder(RawPage)


def decode_page(body: bytes) -> RawPage:
    """Decode the outer object of a list response of OpenAI's form.

    Raises:
        ListingFailed: it is not such an object.
    """
    return decode_response(body, _raw_page)


def decode_response(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the outer object of a list response.

    Raises:
        ListingFailed: it is not such an object.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ListingFailed(f"malformed page ({len(body)} bytes): {error}") from None


def decode_element(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T], number: int) -> T:
    """Decode one element of a page.

    Raises:
        ListingFailed: it does not have the fields that are needed.
    """
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ListingFailed(f"element {number} is malformed: {error}") from None


def read_each(
    raws: Iterable[msgspec.Raw], read: Callable[[msgspec.Raw, int], T | None]
) -> tuple[list[T], list[str]]:
    """Return what `read` makes of each element, and the problem of each that it refuses.

    `read` gets an element and its number. It returns None for an element to leave out, and raises
    ListingFailed for one with a problem.
    """
    found: list[T] = []
    problems: list[str] = []
    for number, raw in enumerate(raws):
        try:
            one = read(raw, number)
        except ListingFailed as error:
            problems.append(str(error))
            continue
        if one is not None:
            found.append(one)
    return found, problems


def creation_time(value: object, number: int) -> float:
    """Return the time of creation of an element, in epoch seconds.

    Raises:
        ListingFailed: it has none.
    """
    found = epoch_seconds(value)
    if found is None:
        raise ListingFailed(f"element {number} has no time of creation")
    return found


def check_job_id(identity: str, number: int) -> str:
    """Return the id of a job if it can be a part of a path.

    Raises:
        ListingFailed: it cannot.
    """
    return check_id(identity, number, MAX_JOB_ID_CHARS)


def check_id(identity: str, number: int, max_chars: int = MAX_ID_CHARS) -> str:
    """Return the id if it can be a key and a part of a path.

    Raises:
        ListingFailed: it cannot.
    """
    if not identity or identity in {".", ".."} or len(identity) > max_chars:
        raise ListingFailed(f"element {number} has no usable id ({len(identity)} characters)")
    return identity


def model_name(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the name of a base model; None if it is none. The names of all jobs are in memory."""
    return value if isinstance(value, str) and len(value) <= MAX_JOB_ID_CHARS else None


def epoch_seconds(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    """Return a time as epoch seconds: a number, or RFC 3339 text. None if it is neither.

    A number that would be a date after the year 5138 is in milliseconds, or in smaller units.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _in_seconds(value)
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
            return moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp()
        except (ValueError, OverflowError):
            return None
    return None


def _in_seconds(value: float) -> float | None:
    for units_per_second in UNITS_PER_SECOND:
        # Compared before the division: an integer of JSON may be too large for a float.
        if abs(value) < MAX_EPOCH_SECONDS * units_per_second:
            return value / units_per_second
    return None


def never_rises(times: list[float | None]) -> bool:
    """Return whether all times are known and none is later than the one before it."""
    known = [time for time in times if time is not None]
    if len(known) != len(times):
        return False
    return all(one >= other for one, other in itertools.pairwise(known))


def is_newest_first(times: list[float | None]) -> bool:
    """Return whether these times prove the order newest first: they fall, and never rise."""
    return never_rises(times) and len(set(times)) > 1
