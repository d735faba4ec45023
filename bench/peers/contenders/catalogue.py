"""All contenders by their names. The documents show them in this order."""

from dataclasses import replace
from typing import Final

from bench.peers.backlog import Placement
from bench.peers.contenders.contender import Contender, Delivery, NoContender
from bench.peers.contenders.kafka_streams import KafkaStreams
from bench.peers.contenders.python_peer import OwnProgram, PythonPeer
from bench.peers.contenders.service import Service

SERVICE: Final = Service(
    name="service",
    title="checkpoint-ready",
    guarantees="exactly once per id, on any key and partition; reports conflicting content",
)
STREAMS: Final = KafkaStreams(
    name="streams",
    title="Kafka Streams 4.3.1, exactly_once_v2, in-memory store",
    guarantees="exactly once per id, if all records of an id have one key",
)
# What its users change for throughput: larger batches and fetches, and fewer commits.
STREAMS_TUNING: Final = {
    "producer.batch.size": "262144",
    "consumer.max.poll.records": "5000",
    "consumer.max.partition.fetch.bytes": "4194304",
    "commit.interval.ms": "500",
}
STREAMS_RANDOM: Final = replace(
    STREAMS,
    name="streams-random",
    title="Kafka Streams, with a repartition step",
    guarantees="exactly once per id, on any key and partition",
    placement=Placement.RANDOM,
)
QUIX: Final = PythonPeer(
    name="quix",
    title="Quix Streams 3.28.1, exactly-once, state",
    program="quix",
    guarantees="exactly once per id, if the key of each record is its id",
)
WITHOUT_PROMISE: Final = OwnProgram(
    name="service-without-promise",
    title="limit: checkpoint-ready without deduplication and transactions",
    program="without_promise",
    guarantees="at least once; every duplicate",
    delivery=Delivery.EVERY_RECORD,
)
CONTENDERS: Final[tuple[Contender, ...]] = (
    SERVICE,
    replace(
        SERVICE,
        name="service-random",
        title="checkpoint-ready, random partitions",
        placement=Placement.RANDOM,
    ),
    replace(
        SERVICE,
        name="service-low-latency",
        title="checkpoint-ready, COMMIT_INTERVAL_MS=5",
        settings={"COMMIT_INTERVAL_MS": "5"},
    ),
    replace(
        SERVICE,
        name="service-unpinned",
        title="checkpoint-ready, one process on all cores",
        is_pinned=False,
    ),
    replace(
        SERVICE,
        name="service-two-processes",
        title="checkpoint-ready, two processes on all cores",
        is_pinned=False,
        processes=2,
    ),
    WITHOUT_PROMISE,
    STREAMS,
    replace(STREAMS, name="streams-tuned", title="Kafka Streams, tuned", settings=STREAMS_TUNING),
    STREAMS_RANDOM,
    replace(
        STREAMS_RANDOM,
        name="streams-random-tuned",
        title="Kafka Streams, with a repartition step, tuned",
        settings=STREAMS_TUNING,
    ),
    replace(
        STREAMS,
        name="streams-rocksdb",
        title="Kafka Streams, RocksDB store",
        store="rocksdb",
    ),
    replace(
        STREAMS,
        name="streams-low-latency",
        title="Kafka Streams, commit.interval.ms=10, linger.ms=0",
        settings={"commit.interval.ms": "10", "producer.linger.ms": "0"},
    ),
    QUIX,
    replace(
        QUIX,
        name="quix-low-latency",
        title="Quix Streams, commit_interval=0.01",
        settings={"commit_interval": "0.01", "consumer_poll_timeout": "0.01"},
    ),
    PythonPeer(
        name="faststream",
        title="FastStream 0.7.8, batches, ids in a set",
        program="faststream",
        guarantees="at least once; after a restart ids are published again",
        delivery=Delivery.EACH_ID,
    ),
    PythonPeer(
        name="copy",
        title="limit: aiokafka copies bytes",
        program="copy",
        guarantees="at least once; every duplicate, nothing decoded",
        delivery=Delivery.EVERY_RECORD,
    ),
)
REFERENCES: Final = {
    Placement.KEYED: ("streams", "streams-tuned"),
    Placement.RANDOM: ("streams-random", "streams-random-tuned"),
}
"""What the ratios compare with: the better one of these contenders."""
PIPELINE: Final = "pipeline"
"""The limit without Kafka. It is no contender: it reads and writes nothing."""
DEFAULT: Final = (
    "service",
    "service-random",
    "streams",
    "streams-tuned",
    "streams-random",
    "streams-random-tuned",
    "quix",
    "faststream",
    "copy",
    PIPELINE,
)
NO_CONTENDER: Final = NoContender(
    name="kafka",
    title="limit: a subscriber of the input",
    guarantees="nothing: only producer, broker and subscriber",
    delivery=Delivery.EVERY_RECORD,
)
"""Only for latency. It is the first one, so it also warms the broker up."""
DEFAULT_LATENCY: Final = (
    NO_CONTENDER.name,
    "service",
    "service-low-latency",
    "streams",
    "streams-low-latency",
    "quix",
    "quix-low-latency",
)
