"""A log that is cut and grows again, or is created again: no unread record is ever skipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.shard.progress import Continuity, Fingerprint, Found, Identity, Progress, judge
from tests.builders import Record

Log = list[tuple[int, Record]]  # leader epoch and record


def written(log: Log, count: int, epoch: int, marks: list[int]) -> None:
    """Append records that no other append has made."""
    for _ in range(count):
        marks[0] += 1
        log.append((epoch, Record(len(log), marks[0], None, b"%d" % marks[0], ())))


def epoch_end(log: Log, epoch: int) -> int:
    """Return where an epoch ends, as a leader says it."""
    return next((offset for offset, (one, _) in enumerate(log) if one > epoch), len(log))


def at(log: Log, fingerprint: Fingerprint | None) -> Record | None:
    """Return the record at a fingerprint's offset."""
    return (
        log[fingerprint.offset][1]
        if fingerprint is not None and fingerprint.offset < len(log)
        else None
    )


@given(st.data())
def test_nothing_unread_is_skipped(data: st.DataObject) -> None:
    """Handled, led by others, cut and grown at will; what is skipped was handled.

    Where the epoch of each clean election was seen, nothing handled is read again either.
    """
    log: Log = []
    marks = [0]
    epoch = 0
    has_ids = data.draw(st.booleans())
    topic_id = "topic" if has_ids else None
    identity = Identity(topic_id, epoch if has_ids else None)
    progress = Progress(0, 0).identified(identity)
    handled: set[bytes | None] = set()
    every_election_seen = has_ids
    for _ in range(data.draw(st.integers(1, 6))):
        written(log, data.draw(st.integers(0, 8)), epoch, marks)
        until = data.draw(st.integers(progress.next_offset, len(log)))
        new = [one for _, one in log[progress.next_offset : until]]
        if new:
            handled |= {one.value for one in new}
            fingerprint = Fingerprint.of(new[-1])
            progress = Progress(until, 0, fingerprint).following(progress).identified(identity)
        if data.draw(st.booleans()):  # a clean election, seen or not
            epoch += 1
            if data.draw(st.booleans()):
                identity = Identity(topic_id, epoch if has_ids else None)
            else:
                every_election_seen = False
    progress = progress.identified(identity)
    epoch += 1
    cut = data.draw(st.integers(0, len(log)))
    del log[cut:]
    written(log, data.draw(st.integers(0, 20)), epoch, marks)
    found = Found(
        0,
        len(log),
        topic_id,
        at(log, progress.fingerprint),
        at(log, progress.older),
        None if progress.leader_epoch is None else epoch_end(log, progress.leader_epoch),
    )
    verdict = judge(progress, found)
    skipped = {one.value for _, one in log[: verdict.resume_at]}
    assert skipped <= handled
    if has_ids:
        assert verdict.continuity in {Continuity.INTACT, Continuity.TRUNCATED}
    if every_election_seen:
        assert verdict.resume_at == min(cut, progress.next_offset)
