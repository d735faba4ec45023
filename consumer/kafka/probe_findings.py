"""What the probe of a cluster tests, and what it means if the cluster cannot do it."""

import enum
from typing import Final

import msgspec


class Status(enum.StrEnum):
    """Whether the cluster can do something."""

    OK = "ok"
    LIMITED = "limited"
    """It cannot, and the service runs all the same."""
    MISSING = "missing"
    """It cannot, and the service cannot run."""


class Finding(msgspec.Struct, frozen=True):
    """The result of one test; ``meaning`` is empty if the cluster can do it."""

    name: str
    status: Status
    detail: str
    meaning: str = ""


class ProbeResult(msgspec.Struct, frozen=True):
    """What one cluster can do."""

    cluster_id: str
    brokers: int
    can_run: bool
    seconds: float
    findings: tuple[Finding, ...]


class Capability(msgspec.Struct, frozen=True):
    """Something that is tested: its name, and what it means if the cluster cannot do it."""

    name: str
    is_required: bool
    meaning: str


LOGIN: Final = Capability("login", is_required=True, meaning="")
PROFILE: Final = Capability(
    "topic settings",
    is_required=False,
    meaning="`topics create` uses the minimal profile (docs/operations/reference.md, Topics)",
)
BROKERS: Final = Capability(
    "broker settings",
    is_required=True,
    meaning="the service cannot run with these settings of the brokers",
)
DESCRIBE: Final = Capability(
    "DescribeConfigs",
    is_required=True,
    meaning="the service cannot check its topics, and refuses to start",
)
TRANSACTIONS: Final = Capability(
    "transactions",
    is_required=True,
    meaning="the service cannot publish exactly once",
)
FENCING: Final = Capability(
    "fencing",
    is_required=True,
    meaning="two processes could publish for one shard, so ids could be published twice",
)
CLOCK: Final = Capability(
    "clock",
    is_required=False,
    meaning="metrics and logs show wrong times; brokers refuse the records of `ingest`, `poll` and "
    "`backfill` if this machine is more than an hour ahead (message.timestamp.after.max.ms)",
)
TIMESTAMPS: Final = Capability(
    "LogAppendTime",
    is_required=True,
    meaning="the service cannot use the brokers' clock",
)
COMPACTION: Final = Capability(
    "compaction",
    is_required=True,
    meaning="the changelog cannot keep the published ids",
)
DELETE_RECORDS: Final = Capability(
    "DeleteRecords",
    is_required=False,
    meaning="handled forwards cannot be deleted: limit the retention of the repartition topic "
    "(docs/operations/runbook.md, When handled forwards cannot be deleted)",
)
OPEN_TRANSACTIONS: Final = Capability(
    "DescribeProducers",
    is_required=False,
    meaning="the service cannot find transactions that hang",
)
GROUP: Final = Capability(
    "consumer group",
    is_required=True,
    meaning="the processes cannot share the shards",
)
CLEAN_UP: Final = Capability(
    "clean-up",
    is_required=False,
    meaning="delete the named topics yourself",
)
