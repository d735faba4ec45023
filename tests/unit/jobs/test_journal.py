"""The journal of a job: the error that a refused commit raises."""

import pytest

from consumer.errors import TaskFailed, TimedOut
from consumer.jobs import journal as journals
from consumer.jobs.journal import Journal
from tests.support.fake_deployment import FakeDeployment


async def test_a_slow_read_after_a_fence_is_no_slow_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job makes its transactions smaller after a TimedOut, which a read must not cause."""
    deployment = await FakeDeployment.create()
    settings, kafka = deployment.settings, deployment.kafka
    topic, admin = settings.jobs_topic, kafka.admin("job")
    await admin.create(topic, 1, 1, {"cleanup.policy": "compact"})
    journal = Journal(
        settings,
        kafka,
        admin,
        kafka.reader("job", topics=[topic], max_message_bytes=1),
        purpose="backfill",
        max_message_bytes={topic: 1_000_000},
    )
    await journal.open(lambda _: True)
    deployment.cluster.init_producer_id(f"{settings.group_id}-:backfill")

    async def stall(*_: object) -> None:
        raise TimedOut("the journal could not be read")

    monkeypatch.setattr(journals, "settled_ranges", stall)
    with pytest.raises(TaskFailed, match="could not be read") as raised:
        await journal.commit(journal.transaction_batches(), [(b"r:job", b"{}")])
    assert not isinstance(raised.value, TimedOut)
