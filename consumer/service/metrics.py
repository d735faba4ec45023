"""The metrics of `run`: the name, type, labels, unit and help text of each.

``dev.metrics_table`` generates the table in docs/operations/reference.md from ``METRICS``. The number of
label values is bounded: topics, partitions and shards of this group, and fixed lists of words.
"""
# ruff: noqa: E501 - a help text stays on one line, as it is shown

from typing import Final

from consumer.metric import Metric

# From a fast broker to a transaction that is close to its timeout.
TRANSACTION_BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
# From an event without backlog to a backlog of a day.
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


CONSUMED = Metric(
    "consumed_records_total",
    "counter",
    ("topic",),
    "records",
    "Source records whose decision was committed. A forwarded record counts again under the repartition topic.",
)
PUBLISHED = Metric(
    "published_events_total", "counter", (), "events", "Ready events published (committed)."
)
DUPLICATES = Metric(
    "duplicates_total",
    "counter",
    ("kind",),
    "records",
    "Records that repeat an id, by kind. same: the content is known. conflicting: the content is different, and the record becomes a dead letter. The first eight conflicting contents of an id are remembered: each counts once, and its repeats count as same. After these eight, each record with another content counts as conflicting.",
)
DEAD_LETTERS = Metric(
    "dead_letters_total",
    "counter",
    ("reason",),
    "records",
    "Records written to the dead-letter topic, by reason.",
)
FORWARDED = Metric(
    "forwarded_records_total",
    "counter",
    (),
    "records",
    "Records forwarded to their home shard.",
)
TRANSACTIONS = Metric(
    "transactions_total",
    "counter",
    ("outcome",),
    "transactions",
    "Transactions of running shards: committed, failed (outcome unknown: the shard restarts from committed state) or fenced (another process took over the shard).",
)
FENCES = Metric(
    "fences_total",
    "counter",
    (),
    "fences",
    "Shards that another process took over, in any state.",
)
REBALANCES = Metric(
    "rebalances_total",
    "counter",
    (),
    "rebalances",
    "Assignments received from the consumer group, including the first.",
)
SUPPRESSED = Metric(
    "suppressed_log_lines_total",
    "counter",
    (),
    "lines",
    "Suppressed log lines: events of large transactions, and repeated messages of a client library.",
)
EXPIRED = Metric(
    "expired_ids_total",
    "counter",
    (),
    "ids",
    "Ids and conflicting contents that were removed from memory because DEDUP_WINDOW_SECONDS has passed.",
)
TRANSACTION_SECONDS = Metric(
    "transaction_seconds",
    "histogram",
    (),
    "seconds",
    "Time from the start of a decision to the end of its commit.",
    TRANSACTION_BUCKETS,
)
END_TO_END = Metric(
    "end_to_end_seconds",
    "histogram",
    (),
    "seconds",
    "Time from a source record's timestamp to the commit of its ready event.",
    LATENCY_BUCKETS,
)
REBALANCE_SECONDS = Metric(
    "rebalance_seconds",
    "histogram",
    (),
    "seconds",
    "Duration of a rebalance, from its start to the assignment. Shards continue to run meanwhile.",
    REBALANCE_BUCKETS,
)
FRESHNESS = Metric(
    "freshness_seconds",
    "histogram",
    (),
    "seconds",
    "Time from a checkpoint's created_at to the commit of its ready event.",
    FRESHNESS_BUCKETS,
)
LAG = Metric(
    "lag_records",
    "gauge",
    ("topic", "partition"),
    "records",
    "How many records of a source partition are not handled yet. A transaction marker at the end of the partition is not counted. Absent while unknown.",
)
HELD_BACK_RECORDS = Metric(
    "held_back_records",
    "gauge",
    ("topic", "partition"),
    "records",
    "Records of a source partition that an open transaction of a producer holds back: high watermark minus last stable offset. They do not count as lag. Absent while unknown.",
)
HELD_BACK_SECONDS = Metric(
    "held_back_seconds",
    "gauge",
    ("topic", "partition"),
    "seconds",
    "Time for which the last stable offset of a source partition has not moved while records are held back; 0: no record is held back.",
)
HANGING_TRANSACTIONS = Metric(
    "hanging_transactions",
    "gauge",
    ("shard",),
    "partitions",
    "Partitions with an open transaction of an earlier owner of the shard that the brokers do not end; the shard waits until an operator ends it.",
)
OPEN_TRANSACTION_SECONDS = Metric(
    "open_transaction_seconds",
    "gauge",
    ("topic",),
    "seconds",
    "Time since this process first saw the oldest open transaction of any producer in an output topic. Subscribers cannot read records after its start.",
)
REPARTITION_HANDLED = Metric(
    "repartition_handled_records",
    "gauge",
    ("shard",),
    "records",
    "Handled forwards that are still in the shard's partition of the repartition topic, counted in offsets. Trimming deletes all but the last batch. Absent while unknown.",
)
REPARTITION_SIZE = Metric(
    "repartition_size_bytes",
    "gauge",
    ("shard",),
    "bytes",
    "Size of the shard's partition of the repartition topic on the disk of its leader, by DescribeLogDirs. Absent without the ACL Describe on the cluster, and on clusters that do not report it.",
)
REPARTITION_UNREAD_SECONDS = Metric(
    "repartition_oldest_unread_seconds",
    "gauge",
    ("shard",),
    "seconds",
    "Age of the oldest forward that the shard has not read; 0: every forward is read. Absent if the repartition topic has no retention limit, or while unknown.",
)
REPARTITION_RETENTION = Metric(
    "repartition_retention_seconds",
    "gauge",
    (),
    "seconds",
    "Retention of the repartition topic: the brokers delete older forwards, read or not. Absent without a limit.",
)
TOKEN_REMAINING = Metric(
    "token_remaining_seconds",
    "gauge",
    (),
    "seconds",
    "Time until the end of the token with which connections log in; negative after its end. It is renewed when 35% to 45% of its life remain. Absent without OAUTHBEARER, and for tokens of a file or an own class.",
)
TOKEN_LIFETIME = Metric(
    "token_lifetime_seconds",
    "gauge",
    (),
    "seconds",
    "Whole life of the token with which connections log in. Absent like the time until its end.",
)
STATE_ENTRIES = Metric(
    "state_entries", "gauge", ("shard",), "ids", "Checkpoint ids in a shard's memory."
)
STATE_VARIANTS = Metric(
    "state_variants",
    "gauge",
    ("shard",),
    "contents",
    "Conflicting contents of published ids in a shard's memory, at most eight for each id.",
)
SHARDS = Metric("shards", "gauge", ("state",), "shards", "Shards of this process, by state.")
GROUP_SHARDS = Metric(
    "group_shards",
    "gauge",
    (),
    "shards",
    "Shards of the whole group. Each should run in one of its processes.",
)
RESTORE_PROGRESS = Metric(
    "restore_progress_ratio",
    "gauge",
    ("shard",),
    "ratio",
    "Part of a shard's changelog that has been restored; 1: complete. Absent for a shard that waits or must not run.",
)
INFO = Metric("info", "gauge", ("version",), "", "Always 1; the label is the version.")
LAST_COMMIT = Metric(
    "last_commit_timestamp_seconds",
    "gauge",
    (),
    "seconds",
    "Unix time of the last committed transaction; 0: none yet.",
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
    REPARTITION_HANDLED,
    REPARTITION_SIZE,
    REPARTITION_UNREAD_SECONDS,
    REPARTITION_RETENTION,
    TOKEN_REMAINING,
    TOKEN_LIFETIME,
    STATE_ENTRIES,
    STATE_VARIANTS,
    SHARDS,
    GROUP_SHARDS,
    RESTORE_PROGRESS,
    INFO,
    LAST_COMMIT,
)
