"""Runs the shards of a group on an in-memory Kafka, and checks the visible output."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

from consumer.config import PREFIX, Settings
from consumer.errors import TaskFailed, TransientError
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.topic_creation import NewTopicOptions, create_topics
from consumer.kafka.topics import check_topics
from consumer.pipeline.dead_letters import parse_dead_letter
from consumer.pipeline.routing import home
from consumer.shard.commit_policy import TransactionSizeLimit
from consumer.shard.context import NO_LOSSES, AcceptedLosses
from consumer.shard.events import LostTransaction, Observer, Step, TransactionReport
from consumer.shard.task import ShardTask
from tests import builders
from tests.support.fake_cluster import Killed
from tests.support.fake_kafka import FakeKafka
from tests.support.fake_log import NewRecord

INPUT: Final = "input"
OUTPUT: Final = "ready"
DEAD_LETTERS: Final = "dead"
GROUP: Final = "group"
DEADLINE_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
ROUND_SECONDS: Final = 0.3
ROUNDS_OF_LAST: Final = 3
TURNS: Final = 1000


class NotExactlyOnce(AssertionError):
    """A ready event or a dead letter was written more than once or never."""


class StepObserver(Observer):
    """Records the steps of tasks, and ends a task at a step that the test names."""

    def __init__(self) -> None:
        """Start without a planned crash."""
        self.steps: list[tuple[int, Step]] = []
        self.reports: list[TransactionReport] = []
        self.lost: list[LostTransaction] = []
        self.fenced: list[int] = []
        self.watch: Callable[[Step], None] | None = None
        """Called at each step, before a crash."""
        self._crash: Callable[[], None] | None = None
        self._crash_at: Step | None = None
        self._steps_left = 0

    def kill_at(self, step: Step, occurrence: int = 1) -> None:
        """Raise ``Killed`` in the task at this occurrence of the step from now on."""
        self._crash_at, self._steps_left, self._crash = step, occurrence, _kill

    def cancel_at(self, step: Step, occurrence: int = 1) -> None:
        """Cancel the task at this occurrence of the step from now on."""
        self._crash_at, self._steps_left, self._crash = step, occurrence, _cancel

    @property
    def has_crashed(self) -> bool:
        """Whether the planned crash has happened."""
        return self._crash is not None and self._steps_left == 0

    def on_step(self, shard: int, step: Step) -> None:
        """Record the step. Crash if the test has planned a crash at this step."""
        self.steps.append((shard, step))
        if self.watch is not None:
            self.watch(step)
        if step is self._crash_at and self._steps_left and self._crash is not None:
            self._steps_left -= 1
            if not self._steps_left:
                self._crash()

    def on_transaction(self, report: TransactionReport) -> None:
        """Record a committed transaction."""
        self.reports.append(report)

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Record a transaction whose outcome is in doubt."""
        self.lost.append(lost)

    def on_fenced(self, shard: int) -> None:
        """Record a shard that another task took over."""
        self.fenced.append(shard)

    def on_rebalance(self, seconds: float) -> None:
        """Ignore it."""


def _kill() -> None:
    raise Killed


def _cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class FakeDeployment:
    """The topics of one group, and the operations of tests on its shards."""

    def __init__(self, kafka: FakeKafka, settings: Settings) -> None:
        """Use topics that exist; see ``create``."""
        self.kafka = kafka
        self.cluster = kafka.cluster
        self.settings = settings
        self.shards = settings.shards or 0
        self.observer = StepObserver()
        self.clock: Callable[[], float] = time.monotonic
        self.ids: list[str] = []
        """Every id that was produced, once."""
        self.invalid = 0
        """The number of invalid records that were produced."""
        self.most_records = settings.max_transaction_records
        """The records that one transaction may hold."""
        self.tasks: dict[int, ShardTask] = {}
        """The latest task of each shard that ``running`` has started."""
        self._limits: dict[tuple[int, int], TransactionSizeLimit] = {}  # they outlive a task
        self._numbers = itertools.count()

    @classmethod
    async def create(
        cls,
        *,
        shards: int = 1,
        input_partitions: int | None = None,
        kafka: FakeKafka | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Self:
        """Create all topics; `variables` are settings without their prefix."""
        names = {
            "GROUP_ID": GROUP,
            "INPUT_TOPICS": INPUT,
            "OUTPUT_TOPIC": OUTPUT,
            "DEAD_LETTER_TOPIC": DEAD_LETTERS,
            "SHARDS": str(shards),
            "COMMIT_INTERVAL_MS": "1",
            **(variables or {}),
        }
        settings = Settings.load({f"{PREFIX}{name}": value for name, value in names.items()})
        deployment = cls(kafka or FakeKafka(), settings)
        admin = deployment.kafka.admin("create")
        await create_topics(admin, settings, NewTopicOptions(input_partitions or shards))
        return deployment

    @property
    def input_partitions(self) -> int:
        """The number of partitions of the input."""
        return len(self.cluster.topics[INPUT].logs)

    # Input.

    def produce(self, *ids: str, partition: int = 0, timestamp_ms: int | None = None) -> None:
        """Produce a checkpoint of each id."""
        time_ms = self.cluster.now_ms() if timestamp_ms is None else timestamp_ms
        for one in ids:
            value = json.dumps(builders.checkpoint(id=one)).encode()
            self.cluster.produce(INPUT, NewRecord(b"key", value, (), time_ms), partition)
            if one not in self.ids:
                self.ids.append(one)

    def produce_new(self, count: int = 1, partition: int = 0) -> list[str]:
        """Produce checkpoints of ids that were never used, and return these."""
        ids = [f"ckpt_{next(self._numbers):04}" for _ in range(count)]
        self.produce(*ids, partition=partition)
        return ids

    def produce_invalid(self, partition: int = 0) -> None:
        """Produce a record that must become a dead letter."""
        self.cluster.produce(INPUT, NewRecord(b"key", b"{"), partition)
        self.invalid += 1

    # Shards.

    def task(
        self,
        shard: int = 0,
        observer: StepObserver | None = None,
        accepted: AcceptedLosses = NO_LOSSES,
    ) -> ShardTask:
        """Return a new task of a shard."""
        settings = self.settings
        admin = self.kafka.admin("task")
        return ShardTask(
            shard,
            settings=settings,
            kafka=self.kafka,
            admin=admin,
            observer=observer or self.observer,
            clock=self.clock,
            limit=self._limits.setdefault(
                (shard, self.most_records), TransactionSizeLimit(self.most_records)
            ),
            check=OpenTransactionCheck(
                admin,
                settings.bootstrap_servers,
                (settings.output_topic, settings.repartition_topic, settings.changelog_topic),
                optional=(settings.dead_letter_topic,),
            ),
            accepted=accepted,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run every shard in this context, each with a new task after a crash. Then stop them.

        Any error after which the service would not start a new task fails the test.
        """
        runners = [_Runner(self, shard) for shard in range(self.shards)]
        running = [asyncio.create_task(runner.run()) for runner in runners]
        try:
            yield
        finally:
            for runner in runners:
                runner.stop()
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not all(one.done() for one in running):
                    self.cluster.wake_readers()  # an idle fetch ends at once
                    await asyncio.sleep(0)
            for ended in running:
                ended.result()

    async def wait_until_handled(self) -> None:
        """Wait until all records that were produced before are handled.

        Produce one more checkpoint for each pair of input partition and home shard, and wait for
        them. Records of one such pair keep their order, so all earlier records are handled then.
        """
        last: set[str] = set()

        def are_handled() -> bool:
            return last <= self.published().keys()

        for _ in range(ROUNDS_OF_LAST):  # a planted fault may lose the last ones too
            last = self._produce_last()
            with contextlib.suppress(TimeoutError):
                await self.wait_until(are_handled, "the last checkpoints", ROUND_SECONDS)
                break
        await self.wait_until(are_handled, "the last checkpoints")

    def _produce_last(self) -> set[str]:
        last: set[str] = set()
        for partition in range(self.input_partitions):
            for shard in range(self.shards):
                ids = (f"last_{next(self._numbers):04}" for _ in itertools.count())
                one = next(it for it in ids if home(it, self.shards) == shard)
                self.produce(one, partition=partition)
                last.add(one)
        return last

    async def wait_until(
        self, condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS
    ) -> None:
        """Wait until a condition holds. It is checked again whenever a log changes."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {seconds:g} s")
            await self.cluster.wait_for_change(POLL_SECONDS)

    async def refresh_topology(self) -> None:
        """Pass the current description of the topics to every running task."""
        topology = await check_topics(self.kafka.admin("discovery"), self.settings)
        for task in self.tasks.values():
            task.refresh_topology(topology, time.monotonic())
        self.cluster.wake_readers()

    async def let_tasks_run(self) -> None:
        """Run all tasks until each of them waits for time or for a record."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    # Output.

    def published(self, topic: str = OUTPUT) -> Counter[str]:
        """Return how often each id is visible among the ready events."""
        return Counter(json.loads(record.value or b"")["id"] for record in self.cluster.read(topic))

    def assert_exactly_once(self) -> None:
        """Require one ready event for each id, and one dead letter for each invalid record.

        Raises:
            NotExactlyOnce: the output differs.
        """
        published = self.published()
        twice = sorted(one for one, count in published.items() if count > 1)
        lost = sorted(set(self.ids) - published.keys())
        unknown = sorted(published.keys() - set(self.ids))
        letters = [parse_dead_letter(record) for record in self.cluster.read(DEAD_LETTERS)]
        origins = {letter.origin for letter in letters if letter is not None}
        if twice or lost or unknown:
            raise NotExactlyOnce(f"{twice=} {lost=} {unknown=}")
        if len(letters) != self.invalid or len(origins) != self.invalid:
            raise NotExactlyOnce(f"{letters=}, but there were {self.invalid} invalid records")


class _Runner:
    """Runs tasks of one shard, one after the other."""

    def __init__(self, deployment: FakeDeployment, shard: int) -> None:
        self._deployment = deployment
        self._shard = shard
        self._is_stopping = False

    def stop(self) -> None:
        self._is_stopping = True
        task = self._deployment.tasks.get(self._shard)
        if task is not None:
            task.stop()

    async def run(self) -> None:
        while not self._is_stopping:
            task = self._deployment.task(self._shard)
            self._deployment.tasks[self._shard] = task
            running = asyncio.create_task(task.run())
            await asyncio.wait([running])
            error = None if running.cancelled() else running.exception()
            if error is not None and not isinstance(error, TaskFailed | TransientError | Killed):
                raise error
