"""How far a shard has read one source partition, and whether it is still the same partition.

If a topic was recreated and has grown past the stored offset, a fetch at that offset gives no
error. The same is true if a partition was truncated, in a power cut or by an unclean leader
election, and has grown again. To resume at the stored offset would skip records. So progress also
stores the topic's id (KIP-516), the leader epoch (KIP-320), and the fingerprints of the last
handled record and of an older one.
"""

import enum
import zlib
from typing import Final, NamedTuple, Self

import msgspec
from msgspec.structs import replace

from consumer.pipeline.records import SourceRecord

# The older fingerprint is replaced when it is this many offsets older than the last one.
OLDER_OFFSETS: Final = 2000


class Fingerprint(msgspec.Struct, frozen=True):
    """The fingerprint of a handled record: its offset, its timestamp and a checksum."""

    offset: int
    timestamp_ms: int
    checksum: int

    @classmethod
    def of(cls, record: SourceRecord) -> Self:
        """Return the fingerprint of this record."""
        checksum = zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
        return cls(record.offset, record.timestamp, checksum)


class Identity(NamedTuple):
    """Topic id and leader epoch of a partition; None from a broker older than Kafka 2.8."""

    topic_id: str | None = None
    leader_epoch: int | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The position of one source partition, as the changelog stores it.

    ``leader_epoch`` is the epoch in which the log was last found to contain the handled records. If
    a later leader lost some of them, the records that it appends in their place have a higher
    epoch. Progress that an older release stored has neither an epoch nor a topic id.
    """

    next_offset: int
    stream_time_ms: int
    fingerprint: Fingerprint | None = None
    topic_id: str | None = None
    leader_epoch: int | None = None
    older: Fingerprint | None = None

    @property
    def identity(self) -> Identity:
        """Topic id and leader epoch when the partition was last found to be intact."""
        return Identity(self.topic_id, self.leader_epoch)

    def identified(self, identity: Identity) -> Self:
        """Return the progress with this identity; where a part is None, keep the stored part."""
        topic_id, leader_epoch = identity
        return replace(
            self,
            topic_id=self.topic_id if topic_id is None else topic_id,
            leader_epoch=self.leader_epoch if leader_epoch is None else leader_epoch,
        )

    def following(self, previous: Self) -> Self:
        """Return this progress as the successor of ``previous``.

        The fingerprint of ``previous`` may become the older fingerprint. Its identity is kept: the
        caller sets a new one only after ``judge``.
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
    """What happened to a source partition since it was read."""

    INTACT = "intact"
    EXPIRED = "expired"  # retention deleted records before they were read
    TRUNCATED = "truncated"  # the same topic lost its last records, and may have grown since
    RECREATED = "recreated"  # another topic with the same name


class Found(NamedTuple):
    """The present state of a partition.

    ``at_fingerprint`` is the record at the fingerprint's offset, ``at_older`` the record at the
    offset of the older fingerprint. None: there is no visible record, or it was not requested.
    ``epoch_end`` is the offset where the stored leader epoch ends in the current log.
    """

    log_start: int
    end_offset: int  # the high watermark, which open transactions do not hold back
    topic_id: str | None = None
    at_fingerprint: SourceRecord | None = None
    at_older: SourceRecord | None = None
    epoch_end: int | None = None


class Verdict(NamedTuple):
    """What happened to a partition, and the offset at which reading resumes."""

    continuity: Continuity
    resume_at: int


def is_another_topic(progress: Progress, topic_id: str | None) -> bool:
    """Return whether both topic ids are known and differ."""
    return None not in {progress.topic_id, topic_id} and progress.topic_id != topic_id


def lost_its_end(progress: Progress, found: Found) -> bool:
    """Return whether the last handled record is no longer in the log.

    A fingerprint whose record was deleted (compaction, retention) proves nothing.
    """
    if progress.next_offset > found.end_offset:
        return True
    fingerprint = progress.fingerprint
    return fingerprint is not None and _is_replaced(fingerprint, found.at_fingerprint)


def judge(progress: Progress, found: Found) -> Verdict:
    """Compare progress with the present state; never resume after a record that may be unread.

    1. The topic id differs: it is another topic. Read it from its start.
    2. The last handled record is still there, or retention or compaction deleted it. Resume at the
       stored offset, or at the log start if that is higher. If a later leader may have replaced the
       markers after that record, resume before them.
    3. The last handled record is lost, but the id or the older fingerprint shows the same topic.
       Resume after the last record that is known to be handled: all later records may be new.
    4. The last handled record is lost, and neither the id nor the older fingerprint shows the same
       topic. Read it from its start.
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
    """Return the offset to resume at if the last handled record is still there.

    Between that record and the stored offset there were only transaction markers. A later leader
    may have lost them and appended records in their place. So resume at the end of the stored
    leader epoch if it is known and before the stored offset. To read markers again costs nothing.
    """
    fingerprint, epoch_end = progress.fingerprint, found.epoch_end
    is_same_topic = None not in {progress.topic_id, found.topic_id}
    if fingerprint is None or epoch_end is None or not is_same_topic:
        return progress.next_offset
    return min(progress.next_offset, max(fingerprint.offset + 1, epoch_end))


def _handled_until(progress: Progress, found: Found, *, is_same_topic: bool) -> int | None:
    """Return the offset before which the log still has the handled records; None: not known."""
    bounds = []
    if is_same_topic and found.epoch_end is not None:
        fingerprint = progress.fingerprint
        # Records before the end of the stored epoch cannot have been replaced. If the last handled
        # record was replaced there, the epochs cannot be trusted.
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
