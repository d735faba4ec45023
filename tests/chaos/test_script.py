"""The workload's records: the same for the same seed, of every kind, and told rightly."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import InvalidRecord
from tests.chaos.contents import VARIANTS, checkpoint_id, content_of, variant_of
from tests.chaos.invalid_records import invalid_records
from tests.chaos.meaning import read_meaning
from tests.chaos.script import Script

if TYPE_CHECKING:
    from tests.chaos.meaning import Meaning
    from tests.support.invalid_records import InvalidSample
    from tests.support.records import NewRecord

COUNT = 4000
PARTITIONS = 6


def records(seed: int) -> list[NewRecord]:
    """Return the first records of a seed."""
    script = Script(seed, records_per_second=100)
    return [script.next(PARTITIONS) for _ in range(COUNT)]


def test_a_seed_tells_everything() -> None:
    """The same seed gives the same records, another one none of them."""
    assert records(1) == records(1)
    values = [{r.value for r in records(seed) if b"ftckpt_" in (r.value or b"")} for seed in (1, 2)]
    assert not values[0] & values[1]


def test_every_kind_comes() -> None:
    """Repeats near and far, conflicts sent again, invalid records, all headers and keys."""
    sent = records(1)
    meanings = [read_meaning(record.value, record.headers) for record in sent]
    checkpoints = [(i, m) for i, m in enumerate(meanings) if not m.reason]
    first: dict[object, int] = {}
    gaps = [i - first.setdefault(m, i) for i, m in checkpoints]
    assert min(gaps) == 0
    assert sum(0 < gap <= 10 for gap in gaps) > 100
    assert sum(gap > 1000 for gap in gaps) > 10
    contents = Counter(m.checkpoint_id for m in {m for _, m in checkpoints})
    assert max(contents.values()) > 2
    assert {m.reason for m in meanings} == {
        "",
        "tombstone",
        "malformed_json",
        "invalid_schema",
        "wrong_object_type",
        "too_deep",
    }
    assert {record.partition for record in sent} == {-1, *range(PARTITIONS)}
    assert {None, b""} < {record.key for record in sent}
    assert any(not record.headers for record in sent)
    assert any(
        record.headers[-1][0] == "checkpoint-ready.origin" for record in sent if record.headers
    )
    assert any(record.value is None for record in sent)


def test_contents_are_told_apart() -> None:
    """Each id and variant has one content, from which both can be told."""
    ids = [checkpoint_id(7, number) for number in range(300)]
    assert len(set(ids)) == len(ids)
    for one in ids:
        contents = [content_of(one, variant) for variant in range(VARIANTS)]
        assert [variant_of(content) for content in contents] == list(range(VARIANTS))
        assert content_of(one, 3) == contents[3]


def service_says(record: NewRecord | InvalidSample) -> tuple[str, str, bytes]:
    """Return the reason, the id and the digest that the service's own code reads in a record."""
    try:
        decoded = decode(record.value, record.headers)
    except InvalidRecord as invalid:
        return invalid.reason, "", b""
    return "", decoded.id, decoded.digest


def test_the_service_means_the_same() -> None:
    """What the records say of themselves is what the service's own code reads in them."""
    digests: dict[Meaning, bytes] = {}
    for record in records(3):
        meaning = read_meaning(record.value, record.headers)
        reason, checkpoint, digest = service_says(record)
        assert (reason, checkpoint) == (meaning.reason, meaning.checkpoint_id)
        if not reason:
            assert digests.setdefault(meaning, digest) == digest
    assert len(set(digests.values())) == len(digests)


def test_all_invalid_records_are_invalid() -> None:
    """The service refuses each kind of invalid record for the reason in its header."""
    rng = random.Random(1)  # noqa: S311 - a test's chance
    for sample in islice(invalid_records(rng), 100):
        assert service_says(sample)[0] == sample.reason, sample
