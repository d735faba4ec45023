"""How far a shard has read one source partition, and whether it is still the same partition.

A topic that was deleted and created again grows past an old offset without any error. So does a
partition that lost its end, in a power cut or an unclean leader election, and went on. Reading on
at the old offset would skip records. So progress remembers the topic's id (KIP-516), the leader
epoch (KIP-320), and the last record that was handled with one from further back.
"""

import enum
import zlib
from typing import Final, NamedTuple, Self

import msgspec
from msgspec.structs import replace

from consumer.pipeline.records import SourceRecord

# How far the older fingerprint falls behind the last one before a later one takes its place.
OLDER_OFFSETS: Final = 2000


class Fingerprint(msgspec.Struct, frozen=True):
    """The last handled record of a partition: where it stood, when it was written, what it said."""

    offset: int
    timestamp_ms: int
    checksum: int

    @classmethod
    def of(cls, record: SourceRecord) -> Self:
        """Remember this record."""
        checksum = zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
        return cls(record.offset, record.timestamp, checksum)


class Identity(NamedTuple):
    """What the brokers say of a partition; None where they do not know it (before Kafka 2.8)."""

    topic_id: str | None = None
    leader_epoch: int | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The position of one source partition, as the changelog stores it.

    ``leader_epoch`` is one in which the log was seen to hold what was handled: what a later leader
    appends in place of lost records has a higher one. Entries of older releases have neither an
    epoch nor a topic id.
    """

    next_offset: int
    stream_time_ms: int
    fingerprint: Fingerprint | None = None
    topic_id: str | None = None
    leader_epoch: int | None = None
    older: Fingerprint | None = None

    @property
    def identity(self) -> Identity:
        """What the brokers said of the partition when it was last found to be intact."""
        return Identity(self.topic_id, self.leader_epoch)

    def identified(self, identity: Identity) -> Self:
        """Return it with this identity; what the brokers do not know any more stays."""
        topic_id, leader_epoch = identity
        return replace(
            self,
            topic_id=self.topic_id if topic_id is None else topic_id,
            leader_epoch=self.leader_epoch if leader_epoch is None else leader_epoch,
        )

    def following(self, previous: Self) -> Self:
        """Return it as the successor of ``previous``, whose last record may become the older one.

        The identity of ``previous`` stays: only a judgement may change it.
        """
        fingerprint, older = self.fingerprint or previous.fingerprint, previous.older
        is_far_behind = (
            older is None
            or fingerprint is None
            or fingerprint.offset - older.offset >= OLDER_OFFSETS
        )
        return replace(
            self.identified(previous.identity),
            fingerprint=fingerprint,
            older=(previous.fingerprint or older) if is_far_behind else older,
        )


class Continuity(enum.Enum):
    """What is found at a source partition that was read before."""

    INTACT = "intact"
    EXPIRED = "expired"  # records were deleted before they were read
    TRUNCATED = "truncated"  # the same topic lost its last records, and may have grown since
    RECREATED = "recreated"  # this is another partition under the same name


class Found(NamedTuple):
    """What the brokers show of a partition now.

    ``at_fingerprint`` is the first record at or behind the fingerprint's offset, ``at_older`` the
    same of the older one. None: no such record, or not asked for. ``epoch_end`` is the offset where
    the stored leader epoch ends in the current log.
    """

    log_start: int
    end_offset: int  # the high watermark: open transactions hide nothing of it
    topic_id: str | None = None
    at_fingerprint: SourceRecord | None = None
    at_older: SourceRecord | None = None
    epoch_end: int | None = None


class Verdict(NamedTuple):
    """What became of a partition, and the offset at which reading goes on."""

    continuity: Continuity
    resume_at: int


def is_another_topic(progress: Progress, topic_id: str | None) -> bool:
    """Tell whether both topic ids are known and differ."""
    return None not in {progress.topic_id, topic_id} and progress.topic_id != topic_id


def lost_its_end(progress: Progress, found: Found) -> bool:
    """Tell whether what was handled last is not in the log any more.

    A fingerprint whose record is gone (compacted, expired) proves nothing.
    """
    if progress.next_offset > found.end_offset:
        return True
    fingerprint = progress.fingerprint
    return fingerprint is not None and _is_replaced(fingerprint, found.at_fingerprint)


def judge(progress: Progress, found: Found) -> Verdict:
    """Compare progress with what is found; never resume behind a record that may be unread.

    1. Another topic id is another topic: read it from its start.
    2. The last handled record is there, or gone by age: go on, behind what retention deleted, but
       read again what a later leader may have put in place of lost markers.
    3. It is lost, and the topic is the same one by its id or an older fingerprint: go on behind
       what is known to be handled. Records behind that may have been appended since.
    4. Neither the id nor the older fingerprint shows the same topic: read it from its start.
    """
    if is_another_topic(progress, found.topic_id):  # 1.
        return Verdict(Continuity.RECREATED, found.log_start)
    if not lost_its_end(progress, found):  # 2.
        if progress.next_offset < found.log_start:
            return Verdict(Continuity.EXPIRED, found.log_start)
        return Verdict(Continuity.INTACT, max(found.log_start, _proven_until(progress, found)))
    is_same_topic = None not in {progress.topic_id, found.topic_id}
    handled_until = _handled_until(progress, found, is_same_topic=is_same_topic)
    if handled_until is None and not is_same_topic:  # 4.
        return Verdict(Continuity.RECREATED, found.log_start)
    most = min(handled_until or 0, progress.next_offset, found.end_offset)
    return Verdict(Continuity.TRUNCATED, max(found.log_start, most))  # 3.


def _proven_until(progress: Progress, found: Found) -> int:
    """Return up to where a log that holds the last handled record is known to be the same.

    Behind that record was nothing visible, so to read that part again costs nothing. But markers
    there may be lost, and a later leader may have appended records in their place.
    """
    fingerprint, epoch_end = progress.fingerprint, found.epoch_end
    is_same_topic = None not in {progress.topic_id, found.topic_id}
    if fingerprint is None or epoch_end is None or not is_same_topic:
        return progress.next_offset
    return min(progress.next_offset, max(fingerprint.offset + 1, epoch_end))


def _handled_until(progress: Progress, found: Found, *, is_same_topic: bool) -> int | None:
    """Return the offset up to which the log still is what was handled; None: not known."""
    bounds = []
    if is_same_topic and found.epoch_end is not None:
        fingerprint = progress.fingerprint
        # Within one epoch records are not replaced. If one was, the epochs cannot be trusted.
        contradicts = (
            fingerprint is not None
            and fingerprint.offset < found.epoch_end
            and _is_replaced(fingerprint, found.at_fingerprint)
        )
        if not contradicts:
            bounds.append(found.epoch_end)
    if progress.older is not None and _is_there(progress.older, found.at_older):
        bounds.append(progress.older.offset + 1)
    return max(bounds, default=None)


def _is_there(fingerprint: Fingerprint, first: SourceRecord | None) -> bool:
    return first is not None and Fingerprint.of(first) == fingerprint


def _is_replaced(fingerprint: Fingerprint, first: SourceRecord | None) -> bool:
    return (
        first is not None
        and first.offset == fingerprint.offset
        and Fingerprint.of(first) != fingerprint
    )
