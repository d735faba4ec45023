"""Builds the check event, by which a team finds out whether its subscriber reads committed."""

from typing import Final

import msgspec

from consumer.pipeline.ready_event import rfc3339
from consumer.pipeline.records import Header
from schemas.ready_event import (
    CHECK_TYPE,
    DATA_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    SPEC_VERSION,
    CheckData,
    CheckEvent,
)

SOURCE: Final = "/subscribers/check"
ABORTED_MESSAGE: Final = (
    "This is not a checkpoint. The transaction of this event was aborted on purpose, to test "
    "subscribers. A subscriber that receives it does not read with isolation.level=read_committed."
)
COMMITTED_MESSAGE: Final = (
    "This is not a checkpoint. This event was published on purpose, to show that subscribers log "
    "or ignore events of this type. Every subscriber receives it."
)


class CheckRecord(msgspec.Struct, frozen=True):
    """A check event as a record."""

    key: bytes
    value: bytes
    headers: list[Header]


def check_record(
    check: str, partition: int, unix_seconds: int, *, committed: bool, binary_mode: bool
) -> CheckRecord:
    """Return the check event of one partition, in the content mode of the ready events.

    `check` is the id of the check. The ids of its events begin with it.
    """
    event = CheckEvent(
        specversion=SPEC_VERSION,
        id=f"{check}-{partition}",
        source=SOURCE,
        type=CHECK_TYPE,
        subject=check,
        time=rfc3339(unix_seconds),
        datacontenttype=DATA_CONTENT_TYPE,
        partitionkey=check,
        data=CheckData(
            COMMITTED_MESSAGE if committed else ABORTED_MESSAGE, check, partition, committed
        ),
    )
    key = check.encode()
    if not binary_mode:
        headers: list[Header] = [("content-type", EVENT_CONTENT_TYPE.encode())]
        return CheckRecord(key, msgspec.json.encode(event), headers)
    attributes = msgspec.structs.asdict(event)
    del attributes["data"], attributes["datacontenttype"]
    return CheckRecord(
        key,
        msgspec.json.encode(event.data),
        [
            ("content-type", DATA_CONTENT_TYPE.encode()),
            *((f"ce_{name}", value.encode()) for name, value in attributes.items()),
        ],
    )
