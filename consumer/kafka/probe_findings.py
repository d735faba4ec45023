"""What the probe of a cluster tests, and what it means if the cluster cannot do it."""

import enum
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from consumer.errors import CheckpointReadyError


class Status(enum.StrEnum):
    """Whether the cluster can do something."""

    OK = "ok"
    LIMITED = "limited"
    """It cannot, and the service runs all the same."""
    MISSING = "missing"
    """It cannot, and the service cannot run."""
    UNKNOWN = "unknown"
    """The time of the probe was over before the test ended."""


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
    meaning="`topics create` leaves out these settings (docs/operations/reference.md, Topics)",
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
RETENTION: Final = Capability(
    "retention",
    is_required=True,
    meaning="the brokers delete forwards before shards read them, and the service refuses to start",
)
BOUNDED_RETENTION: Final = Capability(
    "retention",
    is_required=False,
    meaning="forwards that no shard reads in this time are lost: set REPARTITION_RETENTION_DAYS "
    "(docs/operations/runbook.md, When handled forwards cannot be deleted)",
)
MESSAGE_SIZE: Final = Capability(
    "max.message.bytes",
    is_required=True,
    meaning="forwards of the largest input records do not fit, or the service does not know what "
    "fits, and refuses to start",
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
TESTS: Final = (
    LOGIN,
    PROFILE,
    DESCRIBE,
    RETENTION,
    MESSAGE_SIZE,
    TIMESTAMPS,
    BROKERS,
    TRANSACTIONS,
    FENCING,
    CLOCK,
    COMPACTION,
    DELETE_RECORDS,
    OPEN_TRANSACTIONS,
    GROUP,
)
"""The capabilities that a probe tests."""


class Findings:
    """The findings of one probe, in the order in which the tests ended."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self._ended: set[str] = set()

    @property
    def can_run(self) -> bool:
        """Whether the service can run. False too if a test that is required did not end."""
        required = {it.name for it in TESTS if it.is_required}
        return not any(
            it.status is Status.MISSING or (it.status is Status.UNKNOWN and it.name in required)
            for it in self.found
        )

    def add(self, capability: Capability, detail: str, failure: Status | None = None) -> None:
        """Add a finding; without `failure` the cluster has the capability."""
        self._ended.add(capability.name)
        is_known_to_fail = failure in {Status.LIMITED, Status.MISSING}
        meaning = capability.meaning if is_known_to_fail else ""
        self.found.append(Finding(capability.name, failure or Status.OK, detail, meaning))

    async def attempt(
        self,
        capability: Capability,
        test: Callable[[], Awaitable[str]],
        *,
        is_silent: bool = False,
    ) -> None:
        """Run a test and add its finding; `is_silent`: only if it fails."""
        try:
            detail = await test()
        except CheckpointReadyError as error:
            status = Status.MISSING if capability.is_required else Status.LIMITED
            self.add(capability, str(error), status)
            return
        if is_silent:
            return
        self._ended.add(capability.name)
        if detail:
            self.add(capability, detail)

    def has_failed(self, capability: Capability) -> bool:
        """Return whether the cluster was found not to have this capability."""
        return any(it.name == capability.name and it.status is Status.MISSING for it in self.found)

    def has(self, capability: Capability) -> bool:
        """Return whether there is a finding about this capability."""
        return any(it.name == capability.name for it in self.found)

    def add_unfinished(self, seconds: float) -> None:
        """Add that the tests without a result did not end within this time."""
        for capability in TESTS:
            if capability.name not in self._ended:
                self.add(capability, f"not finished within {seconds:g} s", Status.UNKNOWN)
