"""The bytes that leave the service for a fixed input, held by digests.

Subscribers, dead-letter tools and a later release read these bytes. A digest here changes only
together with an entry in CHANGELOG.md that says what changed on the wire and why.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence

from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decider, Decision, apply
from consumer.pipeline.records import Headers, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from consumer.shard.changelog import progress_record
from consumer.shard.progress import Fingerprint, Progress
from consumer.shard.transaction import changelog_records
from tests.builders import NO_CEILING_MS, TIMESTAMP_MS, TOPIC, Record, checkpoint, shard_settings
from tests.fuzz.seeds import ID, SEEDS

SHARDS = 3
MESSAGE_HEADER = "__connect.errors.exception.message"
EXPECTED = {
    "ready": "8705f95d80779f71",
    "ready in binary mode": "0b1e669c967002c0",
    "ready with the GUID of a schema": "b55fdc83ebe74054",
    "dead letters": "239ef4fdfa22d52b",
    "forwards": "108d2344c87471db",
    "changelog": "ec9900ebc0797bc0",
    "progress": "0610d1dfc23d22a3",
}


class Digest:
    """A digest of records: keys, values and headers, each with its length."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Add one record. The message for operators may change, so it does not count."""
        parts = [key, value]
        for name, content in headers:
            parts += [name.encode(), b"" if name == MESSAGE_HEADER else content]
        for part in parts:
            self._sha.update(struct.pack(">q", -1 if part is None else len(part)))
            self._sha.update(part or b"")

    def __str__(self) -> str:
        return self._sha.hexdigest()[:16]


def fixed_records() -> Iterator[Record]:
    """Yield every seed of the fuzzer under three ids, with repetitions and conflicts."""
    values: list[tuple[bytes | None, Headers]] = [
        (seed.text.replace(ID.encode(), b"ckpt-%d-%d" % (number, copy)), list(seed.headers))
        for copy in (0, 1, 0)
        for number, seed in enumerate(SEEDS)
    ]
    values += [
        (json.dumps(checkpoint(id=f"same-{n % 7}", step_number=n % 3)).encode(), [])
        for n in range(60)
    ]
    values += [(None, []), (b"", []), (b"{", [("h", None), ("h", b"\xff")]), (b"x" * 3_000_000, [])]
    for offset, (value, headers) in enumerate(values):
        yield Record(offset, TIMESTAMP_MS + offset, b"key-%d" % (offset % 5), value, headers)


def written(*, binary_mode: bool = False, schema_guid: str = "") -> dict[str, str]:
    """Return the digests of what three shards write for the fixed input and its forwards."""
    digests = {name: Digest() for name in ("ready", "dead letters", "forwards", "changelog")}
    forwards: list[list[Record]] = [[] for _ in range(SHARDS)]

    def decide(shard: int, seen: SeenIds, records: Sequence[Record], *, forwarded: bool) -> None:
        settings = shard_settings(
            shard=shard, shards=SHARDS, binary_mode=binary_mode, schema_guid=schema_guid
        )
        decision = Decision()
        batch = SourceBatch(TOPIC, shard, records, forwarded)
        Decider(settings, seen).decide(batch, decision, NO_CEILING_MS)
        for ready in decision.ready:
            digests["ready"].add(ready.key, ready.value, ready.headers)
        for letter in decision.dead_letters:
            digests["dead letters"].add(letter.key, letter.value, letter.headers)
        for forward in decision.forwards:
            digests["forwards"].add(forward.key, forward.value, forward.headers)
            target = forwards[forward.shard]
            target.append(
                Record(len(target), TIMESTAMP_MS, forward.key, forward.value, forward.headers)
            )
        progress = {TopicPartition(TOPIC, shard): Progress(len(records), decision.stream_time_ms)}
        add_all(digests["changelog"], changelog_records(decision, progress))
        apply(seen, decision)

    memories = [SeenIds(0) for _ in range(SHARDS)]
    everything = list(fixed_records())
    for shard, seen in enumerate(memories):
        decide(shard, seen, everything[shard::SHARDS], forwarded=False)
    for shard, seen in enumerate(memories):
        decide(shard, seen, forwards[shard], forwarded=True)
    return {name: str(digest) for name, digest in digests.items()}


def add_all(digest: Digest, records: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Add records without headers."""
    for key, value in records:
        digest.add(key, value)


def complete_progress() -> str:
    """Return the digest of a progress entry with every field set."""
    last, older = Fingerprint(41, TIMESTAMP_MS, 0xCAFE), Fingerprint(7, TIMESTAMP_MS - 1, 1)
    topic_id = "0123456789abcdef0123456789abcdef"
    progress = Progress(42, TIMESTAMP_MS, last, topic_id=topic_id, leader_epoch=3, older=older)
    digest = Digest()
    digest.add(*progress_record(TOPIC, 1, progress))
    return str(digest)


def test_the_bytes_on_the_wire_are_what_they_were() -> None:
    """Ready events in both content modes, dead letters, forwards, changelog entries.

    The GUID of a schema changes only the ready events.
    """
    with_guid = written(schema_guid="89791762-2336-4186-9674-299b90a802e2")
    found = written() | {
        "ready in binary mode": written(binary_mode=True)["ready"],
        "ready with the GUID of a schema": with_guid.pop("ready"),
        "progress": complete_progress(),
    }
    assert found == EXPECTED
    assert with_guid.items() <= found.items()
