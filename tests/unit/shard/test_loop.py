"""What a running shard does beside its transactions of events: progress, watermarks, topology."""

import time

import msgspec

from consumer.kafka.types import TopicPartition
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import id_key, progress_record
from consumer.shard.commit_policy import PROGRESS_INTERVAL_SECONDS
from consumer.shard.events import Step
from consumer.shard.loop import MOVED_SECONDS
from consumer.shard.progress import Progress
from consumer.shard.watermark import is_announcement
from tests.support.fake_deployment import INPUT, OUTPUT, FakeDeployment

WINDOW_SECONDS = 60
SOURCE = TopicPartition(INPUT, 0)


class Clock:
    """The monotonic clock, which a test can move ahead."""

    def __init__(self) -> None:
        """Show the present."""
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic() + self.ahead_seconds


def saved_offset(deployment: FakeDeployment, source: TopicPartition = SOURCE) -> int:
    """Return the next offset of a source as the changelog holds it."""
    key, _ = progress_record(*source, Progress(0, 0))
    records = deployment.cluster.read(deployment.settings.changelog_topic)
    values = [record.value for record in records if record.key == key]
    return msgspec.json.decode(values[-1] or b"", type=Progress).next_offset


async def test_memory_changes_after_the_commit_and_the_commit_follows_the_send() -> None:
    """At each step of a transaction: the ids in memory, whether it is open, and what is visible."""
    deployment = await FakeDeployment.create()
    seen: list[tuple[Step, int, bool, int]] = []
    output = deployment.cluster.topics[OUTPUT].logs[0]

    def look(step: Step) -> None:
        memory = deployment.tasks[0].status().entries
        visible = deployment.published().total()
        seen.append((step, memory, bool(output.open_transactions), visible))

    async with deployment.running():
        deployment.produce_new(2)
        await deployment.wait_until_handled()
        await deployment.let_tasks_run()
        before = len(deployment.ids)
        deployment.observer.watch = look
        deployment.produce_new(2)
        await deployment.wait_until(lambda: len(seen) >= 4, "a transaction")
        deployment.observer.watch = None
        await deployment.let_tasks_run()
        assert deployment.tasks[0].status().entries == before + 2
    assert seen == [
        (Step.DECIDED, before, False, before),
        (Step.SENT, before, True, before),
        (Step.COMMITTING, before, True, before),
        (Step.COMMITTED, before, False, before + 2),
    ]


async def test_duplicates_alone_write_nothing_until_their_progress_is_due() -> None:
    """After a crash they are read again and are duplicates again, so progress may wait."""
    deployment = await FakeDeployment.create()
    clock = deployment.clock = Clock()
    async with deployment.running():
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        await deployment.let_tasks_run()
        reports = deployment.observer.reports
        transactions, before = len(reports), saved_offset(deployment)
        deployment.produce(*deployment.ids)
        await deployment.let_tasks_run()
        assert (len(reports), saved_offset(deployment)) == (transactions, before)
        clock.ahead_seconds += PROGRESS_INTERVAL_SECONDS
        end = deployment.cluster.log(SOURCE).high_watermark
        deployment.cluster.wake_readers()
        await deployment.wait_until(lambda: saved_offset(deployment) == end, "the progress")
        await deployment.wait_until(lambda: len(reports) > transactions, "the report")
        assert (reports[-1].published, reports[-1].duplicates) == (0, 4)
    deployment.assert_exactly_once()


async def test_an_orderly_end_saves_the_progress_over_duplicates() -> None:
    """The next task does not read them again."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        deployment.produce(*deployment.ids)
        await deployment.let_tasks_run()
    assert saved_offset(deployment) == deployment.cluster.log(SOURCE).high_watermark


async def test_a_position_after_markers_is_saved_now_and_then() -> None:
    """Retention may delete the markers before the next record saves progress."""
    deployment = await FakeDeployment.create()
    clock = deployment.clock = Clock()
    async with deployment.running():
        deployment.produce_new()
        await deployment.wait_until_handled()
        producer = deployment.kafka.writer("producer", 1000)
        await producer.fence()
        await producer.commit_in([SOURCE])
        end = deployment.cluster.log(SOURCE).high_watermark
        await deployment.let_tasks_run()
        assert saved_offset(deployment) == end - 1
        clock.ahead_seconds += MOVED_SECONDS
        deployment.cluster.wake_readers()
        await deployment.let_tasks_run()  # it is noticed now, and due later
        clock.ahead_seconds += PROGRESS_INTERVAL_SECONDS
        deployment.cluster.wake_readers()
        await deployment.wait_until(lambda: saved_offset(deployment) == end, "the progress")


async def test_with_a_window_shards_announce_watermarks_and_forget_old_ids() -> None:
    """Each shard announces to each; what is older than the window gets a tombstone."""
    deployment = await FakeDeployment.create(
        shards=2, variables={"DEDUP_WINDOW_SECONDS": str(WINDOW_SECONDS)}
    )
    cluster = deployment.cluster
    old_ms = cluster.now_ms() - 3 * WINDOW_SECONDS * 1000
    async with deployment.running():
        deployment.produce("old", timestamp_ms=old_ms)
        deployment.produce("fresh")
        await deployment.wait_until_handled()
        await deployment.wait_until(lambda: is_forgotten(deployment, "old"), "its tombstone")
        deployment.produce("old", "fresh")
        await deployment.wait_until_handled()
    assert not is_forgotten(deployment, "fresh")
    published = deployment.published()
    assert (published["old"], published["fresh"]) == (2, 1)
    for log in cluster.topics[deployment.settings.repartition_topic].logs:
        records = log.read(0, 1000, committed_only=True).records
        announced = [record for record in records if is_announcement(record.headers)]
        assert len({record.headers[-1][1] for record in announced}) >= 2


def is_forgotten(deployment: FakeDeployment, one: str) -> bool:
    """Return whether the changelog holds a tombstone of this id."""
    records = deployment.cluster.read(deployment.settings.changelog_topic)
    return any(it.key == id_key(id_digest(one)) and it.value is None for it in records)


async def test_a_new_input_partition_is_read_from_its_start() -> None:
    """The task takes it over between two transactions, and the others go on where they are."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        task = deployment.tasks[0]
        deployment.cluster.topics[INPUT].grow(2)
        deployment.produce_new(3, partition=1)
        deployment.produce(deployment.ids[0], partition=1)
        await deployment.refresh_topology()
        await deployment.wait_until_handled()
        assert deployment.tasks[0] is task
    deployment.assert_exactly_once()


async def test_a_recreated_input_ends_the_task_and_the_next_reads_it_from_its_start() -> None:
    """The topic's id shows it, also where the new topic is as long as the old one."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        before = deployment.produce_new(3)
        await deployment.wait_until_handled()
        task = deployment.tasks[0]
        deployment.cluster.recreate(INPUT)
        deployment.produce(*before)
        deployment.produce_new(3)
        await deployment.refresh_topology()
        await deployment.wait_until(lambda: deployment.tasks[0] is not task, "another task")
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_another_leader_makes_the_loop_compare_its_sources() -> None:
    """A leader that lacks records ends the task; one that has them does not."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        task = deployment.tasks[0]
        log = deployment.cluster.log(SOURCE)
        log.start_epoch()
        await deployment.refresh_topology()
        await deployment.wait_until_handled()
        assert deployment.tasks[0] is task
        log.truncate(log.high_watermark - 1)
        deployment.produce_new(3)
        await deployment.refresh_topology()
        await deployment.wait_until(lambda: deployment.tasks[0] is not task, "another task")
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()
