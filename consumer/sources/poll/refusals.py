"""Which checkpoints the service would refuse, by the decoder of the pipeline.

A process that remembers nothing, such as a cron job, would otherwise cause the same dead letter in
each of its runs.
"""

from typing import Final

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import InvalidRecord
from consumer.sources.poll.pages import Element

_SHOWN_ID_CHARS: Final = 200


def refusal(element: Element) -> str | None:
    """Return why the service would refuse a checkpoint, without its content; None if it would not.

    The message of the decoder is left out, because it may quote the content.
    """
    try:
        decode(element.value)
    except InvalidRecord as error:
        shown = element.id[:_SHOWN_ID_CHARS]
        return f"the checkpoint {shown} is not sent, because it is invalid: {error.reason.value}"
    return None
