"""The metrics: every one is named here and nowhere else.

The table in docs/operations/reference.md is made from ``METRICS``. Labels are bounded: topics, partitions and
shards of this group, and closed lists of words.
"""
# ruff: noqa: E501 - a row stays on one line, so that the list can be read as a table

from typing import Final, Literal, NamedTuple

PREFIX: Final = "checkpoint_ready_"
Kind = Literal["counter", "gauge", "histogram"]
# From a wakeful broker to a transaction that is nearly too old.
TRANSACTION_BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
# From an event at rest to a backlog of a day.
LATENCY_BUCKETS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    15.0,
    60.0,
    300.0,
    3600.0,
    21600.0,
    86400.0,
)
REBALANCE_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FRESHNESS_BUCKETS: Final = (
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    10800.0,
    21600.0,
    43200.0,
    86400.0,
)


class Metric(NamedTuple):
    """One metric; ``name`` lacks the prefix."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as it is scraped."""
        return PREFIX + self.name


CONSUMED = Metric(
    "consumed_records_total",
    "counter",
    ("topic",),
    "records",
    "Records that were decided about and committed; forwarded ones once more, under the repartition topic.",
)
PUBLISHED = Metric(
    "published_events_total", "counter", (), "events", "Ready events that became visible."
)
DUPLICATES = Metric(
    "duplicates_total",
    "counter",
    ("kind",),
    "records",
    "Repeated ids: with content that was met before (same), or with other content (conflicting, which is a dead letter): once for each content, and behind eight of an id for each record.",
)
DEAD_LETTERS = Metric(
    "dead_letters_total",
    "counter",
    ("reason",),
    "records",
    "Records that were put aside, by reason.",
)
FORWARDED = Metric(
    "forwarded_records_total",
    "counter",
    (),
    "records",
    "Records that were sent on to their home shard.",
)
TRANSACTIONS = Metric(
    "transactions_total",
    "counter",
    ("outcome",),
    "transactions",
    "Transactions of running shards: committed, failed (in doubt: the shard starts anew) or fenced (another process has the shard).",
)
FENCES = Metric(
    "fences_total",
    "counter",
    (),
    "fences",
    "Shards that another process took over, in whatever state.",
)
REBALANCES = Metric(
    "rebalances_total",
    "counter",
    (),
    "rebalances",
    "Times the group decided what runs here, the first one included.",
)
SUPPRESSED = Metric(
    "suppressed_log_lines_total",
    "counter",
    (),
    "lines",
    "Log lines left out: of events in large transactions, and of a client library that repeats itself.",
)
EXPIRED = Metric(
    "expired_ids_total",
    "counter",
    (),
    "ids",
    "Ids and refused contents forgotten behind DEDUP_WINDOW_SECONDS.",
)
TRANSACTION_SECONDS = Metric(
    "transaction_seconds",
    "histogram",
    (),
    "seconds",
    "From the beginning of a decision to the return of its commit.",
    TRANSACTION_BUCKETS,
)
END_TO_END = Metric(
    "end_to_end_seconds",
    "histogram",
    (),
    "seconds",
    "From a source record's timestamp to its ready event being visible.",
    LATENCY_BUCKETS,
)
REBALANCE_SECONDS = Metric(
    "rebalance_seconds",
    "histogram",
    (),
    "seconds",
    "How long the group took to decide what runs here; shards run on meanwhile.",
    REBALANCE_BUCKETS,
)
FRESHNESS = Metric(
    "freshness_seconds",
    "histogram",
    (),
    "seconds",
    "From a checkpoint's created_at to its ready event being visible.",
    FRESHNESS_BUCKETS,
)
LAG = Metric(
    "lag_records",
    "gauge",
    ("topic", "partition"),
    "records",
    "Records of a source partition that are not handled yet; markers of transactions are none. Absent while it is not known.",
)
HELD_BACK_RECORDS = Metric(
    "held_back_records",
    "gauge",
    ("topic", "partition"),
    "records",
    "Records of a source partition behind an open transaction of a producer, that transaction's own included: high watermark minus last stable offset. They are no lag. Absent while it is not known.",
)
HELD_BACK_SECONDS = Metric(
    "held_back_seconds",
    "gauge",
    ("topic", "partition"),
    "seconds",
    "For how long the last stable offset of a source partition has not moved while records are held back; 0: none are.",
)
HANGING_TRANSACTIONS = Metric(
    "hanging_transactions",
    "gauge",
    ("shard",),
    "partitions",
    "Partitions in which the brokers left a transaction of an earlier owner of the shard open; the shard does not run over it.",
)
OPEN_TRANSACTION_SECONDS = Metric(
    "open_transaction_seconds",
    "gauge",
    ("topic",),
    "seconds",
    "For how long the oldest open transaction in a topic that the service writes has been seen open, of any producer; subscribers wait behind it.",
)
STATE_ENTRIES = Metric("state_entries", "gauge", ("shard",), "ids", "Ids in a shard's memory.")
STATE_VARIANTS = Metric(
    "state_variants",
    "gauge",
    ("shard",),
    "contents",
    "Refused contents of published ids in a shard's memory, at most eight of each id.",
)
SHARDS = Metric("shards", "gauge", ("state",), "shards", "Shards of this process by state.")
GROUP_SHARDS = Metric(
    "group_shards",
    "gauge",
    (),
    "shards",
    "Shards of the whole group, each of which should run in one of its processes.",
)
RESTORE_PROGRESS = Metric(
    "restore_progress_ratio",
    "gauge",
    ("shard",),
    "ratio",
    "How far a shard's restore has come; 1 when it is done. None of a shard that waits or must not run.",
)
INFO = Metric("info", "gauge", ("version",), "", "1; its label tells the version.")
LAST_COMMIT = Metric(
    "last_commit_timestamp_seconds",
    "gauge",
    (),
    "seconds",
    "When the last transaction was committed (Unix time); 0: none yet.",
)

METRICS: Final = (
    CONSUMED,
    PUBLISHED,
    DUPLICATES,
    DEAD_LETTERS,
    FORWARDED,
    TRANSACTIONS,
    FENCES,
    REBALANCES,
    SUPPRESSED,
    EXPIRED,
    TRANSACTION_SECONDS,
    END_TO_END,
    REBALANCE_SECONDS,
    FRESHNESS,
    LAG,
    HELD_BACK_RECORDS,
    HELD_BACK_SECONDS,
    HANGING_TRANSACTIONS,
    OPEN_TRANSACTION_SECONDS,
    STATE_ENTRIES,
    STATE_VARIANTS,
    SHARDS,
    GROUP_SHARDS,
    RESTORE_PROGRESS,
    INFO,
    LAST_COMMIT,
)
