"""Rewrites the messages of the pipeline for senders over HTTP, who have no records. Pure.

The pipeline explains what is wrong, and advises settings of Kafka clients. Such a message has the
form `PROBLEM: ADVICE; ERROR`.
"""

import re
from typing import Final

_KAFKA_ADVICE: Final = re.compile(
    r"record|Kafka|producer|connector|[Ss]erializer|[Cc]onverter|transforms|parse\.key"
)
_SEVERAL: Final = "separate record"
_SEVERAL_ADVICE: Final = (
    "send an array, or one document in each line (Content-Type: application/x-ndjson)"
)


def for_http(message: str) -> str:
    """Return the message with advice for HTTP, or without advice that is only for Kafka."""
    explained, separator, error = message.partition("; ")
    problem, _, advice = explained.partition(": ")
    if advice and _KAFKA_ADVICE.search(advice):
        explained = f"{problem}: {_SEVERAL_ADVICE}" if _SEVERAL in advice else problem
    return f"{explained}{separator}{error}"
