"""How far a shard has read one source partition, and whether it is still the same partition.

If a topic was recreated and has grown past the stored offset, a fetch at that offset gives no
error. The same is true if a partition was truncated, in a power cut or by an unclean leader
election, and has grown again. But the new records before that offset would be skipped. So progress
also stores the topic's id (KIP-516), the leader epoch (KIP-320), and the fingerprints of the last
handled record and of an older one.
"""

import enum
import zlib
from typing import Final, NamedTuple, Self

import msgspec
from msgspec.structs import replace

from consumer.pipeline.records import SourceRecord

# The older fingerprint is replaced when it is at least this many offsets before the last one.
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
    """Topic id and leader epoch of a partition; None if not known.

    This client reads both only from version 10 of the Metadata response, so from Kafka 2.8 on.
    """

    topic_id: str | None = None
    leader_epoch: int | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The position of one source partition, as the changelog stores it.

    ``topic_id`` and ``leader_epoch`` are those of the last time when the log was found to contain
    the handled records. If a later leader lost some of these records, the records that it appends
    in their place have a higher epoch. ``older`` is the fingerprint of an older handled record.
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
        """Return the progress with this identity; a part of it that is None stays as stored."""
        topic_id, leader_epoch = identity
        return replace(
            self,
            topic_id=self.topic_id if topic_id is None else topic_id,
            leader_epoch=self.leader_epoch if leader_epoch is None else leader_epoch,
        )

    def following(self, previous: Self) -> Self:
        """Return this progress as the successor of ``previous``.

        The fingerprint of ``previous`` may become the older fingerprint. The result has the topic
        id and leader epoch of ``previous``. The caller may replace them, but only with an identity
        under which the source was already judged.
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
    offset of the older fingerprint. None: the offset has no visible record, or it was not read.
    ``epoch_end`` is the first offset after the stored leader epoch in the current log. None: it was
    not queried, or the leader does not know this epoch.
    """

    log_start: int
    end_offset: int  # high watermark, or last stable offset for a reader of committed records
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
    """Return whether the log ends before the next offset, or lost its last handled record.

    Another record at the fingerprint's offset proves the loss. No record there proves nothing:
    compaction or retention may have deleted the record.
    """
    if progress.next_offset > found.end_offset:
        return True
    fingerprint = progress.fingerprint
    return fingerprint is not None and _is_replaced(fingerprint, found.at_fingerprint)


def judge(progress: Progress, found: Found) -> Verdict:
    """Compare progress with the present state; never resume after a record that may be unread.

    1. The topic id differs, so this is another topic. Read the topic from its start.
    2. The log has not lost its end: the last handled record is still there, or retention or
       compaction deleted it. Resume at the stored offset, or at the log start if that is higher. If
       a later leader may have replaced the markers after that record, resume before them.
    3. The log has lost its end, but the topic id or the older fingerprint shows the same topic.
       Resume after the last record that is known to be handled: all later records may be new. If no
       record is known, resume at the log start.
    4. The log has lost its end, and neither the topic id nor the older fingerprint shows the same
       topic. Read the topic from its start.
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
    """Return the offset to resume at if the log has not lost its end.

    Between the last handled record and the stored offset there were only transaction markers and
    aborted records. A later leader may have lost them and appended new records in their place. The
    new records have a higher epoch, so they begin where the stored leader epoch ends. Resume there
    if this offset is known and before the stored offset, but never before the end of the last
    handled record. So no record is handled twice: markers and aborted records are not handled.
    """
    fingerprint, epoch_end = progress.fingerprint, found.epoch_end
    is_same_topic = None not in {progress.topic_id, found.topic_id}
    if fingerprint is None or epoch_end is None or not is_same_topic:
        return progress.next_offset
    return min(progress.next_offset, max(fingerprint.offset + 1, epoch_end))


def _handled_until(progress: Progress, found: Found, *, is_same_topic: bool) -> int | None:
    """Return the offset before which the log still has all handled records; None: not known."""
    bounds = []
    if is_same_topic and found.epoch_end is not None:
        fingerprint = progress.fingerprint
        # No record before the end of the stored epoch can have been replaced. If the last handled
        # record is before this end and was replaced, the epochs cannot be trusted.
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
