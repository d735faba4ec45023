"""Plans the demo: makes the records to produce and the expected output from a seed.

The plan imitates producers that poll jobs. Each poll lists the checkpoints of a job, newest first,
and sends all of them, so the same id is sent many times. To make the test harder, the repeats of
an id have different partitions and keys. Some repeats have another spelling, some another content.
"""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from tests.support.invalid_records import make_invalid_records, make_too_large_records
from tests.support.sample_jobs import SDK_EXAMPLE_CONTENT, Job, make_job, other_contents
from tests.support.variants import write_variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.documents import Document
    from tests.support.invalid_records import InvalidSample
    from tests.support.variants import Headers

INPUT_PARTITIONS = 6
READY_MAX_BYTES = 1024 * 1024 + 64 * 1024
COPIES = (1, 2, 3, 4, 5)
COPIES_WEIGHTS = (35, 25, 20, 12, 8)
# Each tuple is for one id. It has the number of the content in each record of this id. All contents
# of an id conflict with each other, and one of them is published.
CONFLICTS = ((0, 1), (0, 1, 1), (0, 0, 1), (0, 1, 1, 2), (0, 0, 1, 1, 2))
CONFLICTING_SHARE = 0.03
INVALID_SHARE = 0.02
POLL_SECONDS = 30.0


class PlannedRecord(NamedTuple):
    """A record to produce, and the output that it must have."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int
    checkpoint_id: str | None = None
    content: int = 0
    """The number of its content, among the contents of its id."""
    reason: str | None = None
    """The reason of its dead letter; None for a valid checkpoint."""


class Plan(NamedTuple):
    """All records in the order of producing, and the contents of every valid id."""

    records: list[PlannedRecord]
    contents: dict[str, list[Document]]
    bridges: dict[str, str]
    """The name of the bridge that brings an id in. The ids of the producer are not in it."""

    def with_bridge(self, name: str, contents: Mapping[str, Document]) -> Plan:
        """Return the plan with the checkpoints that a bridge brings in, by their ids."""
        more = {checkpoint_id: [content] for checkpoint_id, content in contents.items()}
        return Plan(self.records, self.contents | more, self.bridges | dict.fromkeys(more, name))

    @property
    def distinct_ids(self) -> int:
        """The number of ready events that the service must publish."""
        return len(self.contents)

    @property
    def conflicting(self) -> int:
        """The number of contents that conflict with the published content of their id."""
        return sum(len(contents) - 1 for contents in self.contents.values())

    @property
    def dead_letters(self) -> int:
        """The number of dead letters: one for each invalid record and each conflicting content."""
        return sum(record.reason is not None for record in self.records) + self.conflicting

    @property
    def duplicates(self) -> int:
        """The number of records of the producer that the service must drop."""
        produced_ids = self.distinct_ids - len(self.bridges)
        return len(self.records) - produced_ids - self.dead_letters


def make_plan(
    seed: int,
    count: int,
    *,
    partitions: int = INPUT_PARTITIONS,
    ready_max_bytes: int = READY_MAX_BYTES,
) -> Plan:
    """Return a plan of about `count` records. The same arguments always give the same plan."""
    rng = random.Random(seed)
    samples = _invalid_samples(rng, int(count * INVALID_SHARE), ready_max_bytes)
    contents: dict[str, list[Document]] = {}
    # The polls with their times. Each invalid record is sent as a poll of its own.
    polls: list[tuple[float, list[PlannedRecord]]] = []
    planned = len(samples)
    example = Job(str(SDK_EXAMPLE_CONTENT["fine_tuning_job_id"]), [SDK_EXAMPLE_CONTENT])
    job, copies = example, 3
    while planned < count:
        start = rng.uniform(0, count)
        for number, records in enumerate(_polls(rng, job, partitions, contents, copies)):
            polls.append((start + number * POLL_SECONDS + rng.random(), records))
            planned += len(records)
        job, copies = make_job(rng), 0
    end = max(time for time, _ in polls)
    polls += [
        (rng.uniform(0, end), [_planned_sample(rng, sample, partitions)]) for sample in samples
    ]
    polls.sort(key=lambda poll: poll[0])
    return Plan([record for _, records in polls for record in records], contents, {})


def _polls(
    rng: random.Random,
    job: Job,
    partitions: int,
    contents: dict[str, list[Document]],
    copies: int,
) -> Iterable[list[PlannedRecord]]:
    """Return the polls of a job. Each lists the checkpoints of that time, newest first.

    One or more new checkpoints appear between two polls. A checkpoint leaves the list after as many
    polls as it has copies. With `copies` 0 their number is random.
    """
    polls: dict[int, list[PlannedRecord]] = {}
    first_poll = 0
    for checkpoint in job.checkpoints:
        for number, record in enumerate(_copies(rng, checkpoint, partitions, contents, copies)):
            polls.setdefault(first_poll + number, []).append(record)
        first_poll += rng.choice((0, 1))
    return [records[::-1] for _, records in sorted(polls.items())]


def _copies(
    rng: random.Random,
    content: Document,
    partitions: int,
    contents: dict[str, list[Document]],
    copies: int,
) -> Iterable[PlannedRecord]:
    """Yield the records of one id. All have different partitions and different keys."""
    if not copies and rng.random() < CONFLICTING_SHARE:
        numbers = list(rng.choice(CONFLICTS))
        rng.shuffle(numbers)
    else:
        numbers = [0] * (copies or rng.choices(COPIES, COPIES_WEIGHTS)[0])
    known = [content, *islice(other_contents(content), max(numbers))]
    checkpoint_id = content["id"]
    contents[checkpoint_id] = known
    keys: list[bytes | None] = [
        None,
        checkpoint_id.encode(),
        content["fine_tuning_job_id"].encode()
        + b"#",  # differs from the id, even if both are equal
        f"poller-{rng.randint(1, 9)}".encode(),
        rng.randbytes(8),
    ]
    rng.shuffle(keys)
    for number, key, partition in zip(
        numbers, keys, rng.sample(range(partitions), len(numbers)), strict=False
    ):
        value, headers = write_variant(known[number], rng)
        yield PlannedRecord(key, value, headers, partition, checkpoint_id, number)


def _invalid_samples(rng: random.Random, count: int, ready_max_bytes: int) -> list[InvalidSample]:
    """Return every kind of invalid record, repeated until there are `count`. Two are large."""
    samples = make_too_large_records(rng, ready_max_bytes)
    while len(samples) < count:
        samples += make_invalid_records(rng)
    return samples


def _planned_sample(rng: random.Random, sample: InvalidSample, partitions: int) -> PlannedRecord:
    key = rng.choice((None, b"poller-0", rng.randbytes(4)))
    partition = rng.randrange(partitions)
    return PlannedRecord(key, sample.value, sample.headers, partition, reason=sample.reason)
