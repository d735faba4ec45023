"""Faults to plant in the pipeline: a fuzzer that does not notice them proves nothing."""

import enum
import re
from collections.abc import Callable
from typing import Any

from consumer.pipeline import decider, model_name
from consumer.pipeline.dead_letters import dead_letter
from consumer.pipeline.decode import json_document
from consumer.pipeline.model_name import UNRECOGNISED, parse_model_name
from consumer.pipeline.records import DeadLetter, Headers, InvalidRecord, SourceRecord
from schemas.ready_event import Model, Origin

Place = tuple[object, str, Callable[..., Any]]


class Fault(enum.Enum):
    """What is done wrong."""

    REST_UNREAD = "the text behind a number out of range is not looked at"
    DEPTH_UNCOUNTED = "only the parser bounds the depth"
    KEY_LOST = "the dead letter of a record with an empty key has no key"
    BACKTRACKS = "one pattern for a whole model name tries each place of a job"
    ESCAPES = "a header without a value is an exception while the dead letter is made"


def place(fault: Fault) -> Place:
    """Return what to replace: a module, a name in it, and the faulty function."""
    match fault:
        case Fault.REST_UNREAD:
            return json_document, "_require_json", lambda _: None
        case Fault.DEPTH_UNCOUNTED:
            return json_document, "_is_too_deep", lambda _: False
        case Fault.KEY_LOST:
            return decider, "dead_letter", _without_empty_key
        case Fault.BACKTRACKS:
            return model_name, "parse_model_name", _backtracking
        case Fault.ESCAPES:
            return decider, "dead_letter", _for_headers_with_values


def _without_empty_key(
    poison: InvalidRecord, origin: Origin, record: SourceRecord, headers: Headers, max_bytes: int
) -> DeadLetter:
    letter = dead_letter(poison, origin, record, headers, max_bytes)
    return DeadLetter(
        letter.reason, origin, letter.key or None, letter.value, letter.headers, letter.message
    )


def _for_headers_with_values(
    poison: InvalidRecord, origin: Origin, record: SourceRecord, headers: Headers, max_bytes: int
) -> DeadLetter:
    if any(content is None for _, content in headers):
        raise TypeError("object of type 'NoneType' has no len()")
    return dead_letter(poison, origin, record, headers, max_bytes)


def _backtracking(name: str) -> Model:
    pattern = r"([^:/\\]+)\.ft-[0-9a-f]{32}(?:-([^:/\\]+))?(?::ckpt-step-([0-9]{1,18}))?"
    return parse_model_name(name) if re.fullmatch(pattern, name) else UNRECOGNISED
