"""The watermark: what a shard announces, what it accepts, and when it is not known."""

from typing import cast

from consumer.kafka.client.reader import KafkaReader
from consumer.kafka.clock import BrokerClock
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decision, apply
from consumer.pipeline.seen_ids import SeenIds, id_digest
from consumer.shard.watermark import (
    MAX_INTERVAL_SECONDS,
    TIMESTAMP_RECORDS,
    InputPosition,
    LowestTimestamp,
    Watermarks,
    announcement,
    own_watermark,
)
from tests.builders import Record, batch, checkpoint, decide, record

NOW_MS = 1_000_000


def announced(shard: int, watermark_ms: int) -> Record:
    """Return an announcement as it is read from the repartition topic."""
    return Record(0, NOW_MS, None, None, announcement(shard, watermark_ms))


def test_a_partition_read_to_its_end_counts_from_its_last_fetch() -> None:
    """With nothing left to read, the next record came after the last fetch of the partition."""
    ended = InputPosition(0, NOW_MS, 5)
    assert own_watermark([ended, ended], NOW_MS + 9) == NOW_MS
    assert own_watermark([ended, InputPosition(0, NOW_MS - 70, None)], NOW_MS) == NOW_MS - 70


def test_unknown_partitions_bound_the_watermark() -> None:
    """They may have been created after the last check of the topics."""
    assert own_watermark([InputPosition(0, NOW_MS, 5)], NOW_MS - 30_000) == NOW_MS - 30_000
    assert own_watermark([], NOW_MS) == NOW_MS


def test_a_backlog_bounds_the_watermark() -> None:
    """A partition with unread records counts from the timestamps of its latest records."""
    views = [InputPosition(0, NOW_MS, 900_000), InputPosition(5, NOW_MS, 4000)]
    assert own_watermark(views, NOW_MS) == 4000


def test_nothing_is_announced_before_the_inputs_are_known() -> None:
    """Before the first fetch, or the first record of a backlog, there is no watermark."""
    assert own_watermark([InputPosition(None, None, 5)], NOW_MS) is None
    assert own_watermark([InputPosition(1, NOW_MS, None)], NOW_MS) is None


def test_the_watermark_is_the_lowest_of_all_shards() -> None:
    """It needs an announcement of every shard, and subtracts a tenth of the window as grace."""
    watermarks = Watermarks(2, 100, 0.0)
    lows = []
    for shard, watermark_ms in ((0, 500_000), (1, 300_000), (1, 600_000)):
        assert not watermarks.extract([announced(shard, watermark_ms)])
        lows.append(watermarks.low_ms)
    assert lows == [None, 290_000, 490_000]


def test_an_announcement_counts_for_no_more_than_its_broker_timestamp() -> None:
    """The clock of the announcing process may be a day ahead; the broker's clock is not."""
    watermarks = Watermarks(1, 100, 0.0)
    watermarks.extract([announced(0, NOW_MS + 86_400_000)])
    assert watermarks.low_ms == NOW_MS - 10_000


class SilentReader:
    """A reader of a partition that is read to its end, with the time of the last fetch."""

    def backlog(self, _: TopicPartition) -> int:
        """Return how much is left."""
        return 0

    def seen_at(self, _: TopicPartition) -> float:
        """Return when the fetch was sent."""
        return 70.0


def test_announcements_use_the_brokers_clock() -> None:
    """A fetch 30 s ago is 30 s before the brokers' time, not before this machine's time."""
    clock = BrokerClock(lambda: 100.0)
    clock.set(NOW_MS)
    watermarks = Watermarks(1, 100, 90.0)
    inputs = [TopicPartition("in", 0)]
    own_ms = watermarks.own_ms(cast("KafkaReader", SilentReader()), inputs, clock)
    assert own_ms == NOW_MS - 30_000


def test_announcements_of_unknown_shards_are_ignored() -> None:
    """A forged number uses no memory, and does not replace a shard that is silent."""
    watermarks = Watermarks(2, 100, NOW_MS)
    forged = [announced(shard, 500_000) for shard in (-1, 2, 2**31 - 1)]
    assert not watermarks.extract([announced(0, 500_000), *forged])
    assert watermarks.low_ms is None


def test_only_announcements_are_extracted() -> None:
    """Forwards stay, in their order, also one with a forged header before our own."""
    forged = record({}, headers=[*announcement(0, 1), ("checkpoint-ready.origin", b"x")])
    others = [record({}), forged, Record(9, 0, None, None, [])]
    watermarks = Watermarks(1, 100, 0.0)
    assert list(watermarks.extract(others)) == others
    assert watermarks.low_ms is None
    assert list(watermarks.extract([others[0], announced(0, 1), *others[1:]])) == others
    assert watermarks.low_ms is not None


def test_without_a_window_nothing_is_announced_or_expires() -> None:
    """The default costs nothing."""
    watermarks = Watermarks(1, 0, 0.0)
    watermarks.extract([announced(0, 1)])
    assert watermarks.low_ms is None
    assert not watermarks.is_due(10.0**9)


def test_announcements_come_at_intervals() -> None:
    """Twenty times a window, but never more than one a second or less than one a minute."""
    for window_seconds, interval in ((1, 1.0), (200, 10.0), (10**6, MAX_INTERVAL_SECONDS)):
        watermarks = Watermarks(1, window_seconds, 0.0)
        assert watermarks.is_due(0.0)
        watermarks.record_announced(0.0)
        assert not watermarks.is_due(interval - 0.01)
        assert watermarks.is_due(interval)


def test_the_lowest_timestamp_is_known_after_a_thousand_records() -> None:
    """Fewer are not enough, and one record with a clock ahead does not raise it."""
    lowest, values = LowestTimestamp(), []
    full = TIMESTAMP_RECORDS
    for time_ms, count in ((NOW_MS, 1), (5000, full), (NOW_MS, 1), (6000, full)):
        lowest.add([record({}, timestamp_ms=time_ms)] * count)
        values.append(lowest.value_ms)
    assert values == [None, 5000, 5000, 6000]


def test_tombstones_keep_up_with_new_ids() -> None:
    """A transaction expires up to twice as many ids as it adds, and reports that more remain."""
    seen = SeenIds(1000)
    for number in range(5000):
        seen.remember(id_digest(str(number)), b"x" * 16, 0)
    watermarks = Watermarks(1, 1, 0.0)
    watermarks.extract([announced(0, NOW_MS)])
    entering = decide(batch(*(record(checkpoint(id=f"new-{n}")) for n in range(700))), seen=seen)
    watermarks.add_tombstones(seen, entering)
    assert len(entering.expired) == 1400
    forgetting = [entering]
    while watermarks.is_more_expired:
        apply(seen, forgetting[-1])
        forgetting.append(Decision())
        watermarks.add_tombstones(seen, forgetting[-1])
    assert [len(decision.expired) for decision in forgetting] == [1400, 1000, 1000, 1000, 600]
