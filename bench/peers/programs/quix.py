"""The job with Quix Streams: exactly-once processing, and the ids in its state (RocksDB).

State belongs to the key of a message. So the ids are deduplicated only if the key is the id.
"""

from typing import Any

from quixstreams import Application, State, message_context
from quixstreams.models import SerializationContext, Serializer

from bench.peers.programs.job import Job, ready_event

SEEN = "seen"


class ValueOnly(Serializer):
    """Takes the bytes of an outgoing record, which is a tuple of topic, key and value."""

    def __call__(self, value: tuple[Any, bytes, bytes], ctx: SerializationContext) -> bytes:  # noqa: ARG002 - the interface of Quix
        """Return the bytes."""
        return value[2]


def main() -> None:
    """Run until SIGTERM."""
    job = Job.from_arguments()
    app = Application(
        broker_address=job.bootstrap_servers,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=f"{job.folder}/state",
        loglevel="WARNING",
        **{name: float(number) for name, number in job.settings.items()},
    )
    source = app.topic(job.input_topic, value_deserializer="bytes")
    ready = app.topic(job.output_topic, value_serializer=ValueOnly())
    dead_letters = app.topic(job.dead_letter_topic, value_serializer=ValueOnly())

    def decide(value: bytes, _key: Any, timestamp: int, _: Any, state: State) -> list[Any]:  # noqa: ANN401 - Quix' own types
        at = message_context()
        event = ready_event(value, at.topic, at.partition, at.offset, timestamp)
        if event is None:
            return [(dead_letters, b"", value)]
        if state.exists(SEEN):
            return []
        state.set(SEEN, 1)
        return [(ready, event.key, event.value)]

    decided = app.dataframe(source).apply(decide, stateful=True, metadata=True, expand=True)
    decided.to_topic(
        lambda outgoing, _key, _timestamp, _headers: outgoing[0], key=lambda outgoing: outgoing[1]
    )
    app.run()


if __name__ == "__main__":
    main()
