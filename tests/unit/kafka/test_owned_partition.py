"""The takeover of a partition: the order of its stages, and what stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumer.errors import HangingTransaction, TaskFailed
from consumer.kafka import owned_partition
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.owned_partition import OwnedPartition, Stage
from consumer.kafka.types import OpenTransaction, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection

CHANGELOG = TopicPartition("group.changelog", 3)
FORWARDS = TopicPartition("group.repartition", 3)
BARRIER = (b"f:", b"{}")
OFFSET = 41
OPEN = (OpenTransaction(CHANGELOG, 7, 0, 12),)


class Script:
    """A fake of writer and check that records their calls in order."""

    transactional_id = "group-3"

    def __init__(self, *hanging: tuple[OpenTransaction, ...], offset: int = OFFSET) -> None:
        self.events: list[object] = []
        self.written: Collection[TopicPartition] = ()
        self._hanging = list(hanging)
        self._offset = offset

    async def fence(self) -> None:
        """Fence at once."""
        self.events.append("fence")

    async def left_open(self, _: object) -> tuple[OpenTransaction, ...]:
        """Return the open transactions of the next check."""
        self.events.append("check")
        return self._hanging.pop(0) if self._hanging else ()

    async def refuse_hanging(self, writer: object) -> None:
        """Raise if a transaction hangs."""
        if await self.left_open(writer):
            raise HangingTransaction("it hangs")

    async def send(self, batches: TransactionBatches) -> dict[TopicPartition, int]:
        """Take the batches; every one has the same offset."""
        self.events.append("send")
        self.written = batches.finish().keys()
        return dict.fromkeys(self.written, self._offset)

    async def commit(self) -> None:
        """Commit at once."""
        self.events.append("commit")

    async def load(self, barrier_offset: int) -> str:
        """Return something for the caller."""
        self.events.append(("load", barrier_offset))
        return "loaded"

    def owned(self) -> OwnedPartition:
        """Return a partition that this script owns."""
        own: Any = self
        sizes = {CHANGELOG.topic: 10_000, FORWARDS.topic: 10_000}
        return OwnedPartition(CHANGELOG, own, own, lambda: TransactionBatches(sizes))


async def test_the_stages_come_in_order() -> None:
    """Nothing is written before the fence and the check, and nothing is loaded before that."""
    script = Script()
    owned = script.owned()
    loaded = await owned.take_over(BARRIER, script.load, on_stage=script.events.append)
    assert loaded == "loaded"
    assert script.events == [
        "fence",
        Stage.FENCED,
        "check",
        Stage.NOTHING_HANGS,
        "send",
        "commit",
        Stage.BARRIER_SET,
        ("load", OFFSET),
        Stage.LOADED,
    ]


async def test_a_hanging_transaction_is_refused() -> None:
    """The next marker would decide about it, so not even the barrier is written."""
    script = Script(OPEN)
    with pytest.raises(HangingTransaction):
        await script.owned().take_over(BARRIER, script.load)
    assert script.events == ["fence", "check"]


async def test_an_owner_may_wait_until_no_transaction_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It hears of each check, writes nothing meanwhile, and continues by itself."""
    monkeypatch.setattr(owned_partition, "HANGING_PAUSE_SECONDS", 0.0)
    script = Script(OPEN, OPEN)
    owned = script.owned()
    await owned.take_over(BARRIER, script.load, on_hanging=script.events.append)
    expected = ["fence", "check", OPEN, "check", OPEN, "check", "send", "commit", ("load", OFFSET)]
    assert script.events == expected


async def test_more_may_be_committed_with_the_barrier() -> None:
    """Both become visible together."""
    script = Script()
    await script.owned().take_over(
        BARRIER,
        script.load,
        add_to_barrier=lambda batches: batches.to(*FORWARDS).append(None, b"x"),
    )
    assert set(script.written) == {CHANGELOG, FORWARDS}


async def test_a_barrier_without_an_offset_is_in_doubt() -> None:
    """A broker's answer to a retried batch may lack the offset; then nothing can be loaded."""
    script = Script(offset=-1)
    with pytest.raises(TaskFailed, match="offset of the restore barrier"):
        await script.owned().take_over(BARRIER, script.load)
    assert script.events[-1] == "commit"
