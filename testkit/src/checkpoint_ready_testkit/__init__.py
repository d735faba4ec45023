"""A test kit for subscribers of checkpoint-ready: ready events and dead letters as it writes them.

The builders need the standard library only. `checkpoint_ready_testkit.strategies` needs Hypothesis.
The pytest fixture `ready_topic` needs pytest, confluent-kafka, and a broker.
"""

from checkpoint_ready_testkit.claims import (
    assert_dead_letter,
    assert_ready_event,
    assert_ready_record,
)
from checkpoint_ready_testkit.dead_letters import REASONS, Reason, dead_letter
from checkpoint_ready_testkit.kafka_records import KafkaRecord, Mode, event_of, ready_record
from checkpoint_ready_testkit.partitions import default_partition
from checkpoint_ready_testkit.ready_events import (
    job_events,
    later_version,
    ready_event,
    redelivery,
    replayed,
)

__all__ = [
    "REASONS",
    "KafkaRecord",
    "Mode",
    "Reason",
    "assert_dead_letter",
    "assert_ready_event",
    "assert_ready_record",
    "dead_letter",
    "default_partition",
    "event_of",
    "job_events",
    "later_version",
    "ready_event",
    "ready_record",
    "redelivery",
    "replayed",
]

__version__ = "0.1.0"
