"""Reads ready events with confluent-kafka, and runs the configured actions for each of them.

    python subscribe_confluent.py

README.md lists the environment variables. An offset is committed after its event is handled.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, cast

from confluent_kafka import Consumer, KafkaException, Message

from actions import Actions
from ready_event import NotReadyEventError, decode
from send_webhook import StoppedError
from settings import Settings

if TYPE_CHECKING:
    from ready_event import Headers

START_SECONDS = 10
POLL_SECONDS = 0.2
# The longest time that the actions of one event may take.
MAX_POLL_INTERVAL_MS = 3_600_000

log = logging.getLogger("subscriber")


def new_consumer(settings: Settings) -> Consumer:
    """Return a consumer without a subscription."""
    options = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group_id,
        # The default of librdkafka, but not of every client: with read_uncommitted, events of
        # aborted transactions are delivered too, and each of these is published again later.
        "isolation.level": settings.isolation_level,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 20,
        "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
    }
    return Consumer({name: value for name, value in options.items() if value is not None})


def handle(message: Message, actions: Actions) -> None:
    """Run the actions for an event, and print its line. Skip a record that is no ready event."""
    partition, offset = message.partition() or 0, message.offset() or 0
    try:
        event = decode(cast("Headers", message.headers() or []), message.value())
    except NotReadyEventError as error:
        log.warning("skipped offset %d of partition %d: %s", offset, partition, error)
        return
    actions.run(event)
    print(event.line(partition, offset), flush=True)


def subscribe(consumer: Consumer, actions: Actions, stop: threading.Event) -> None:
    """Handle one record after the other until the program is asked to stop."""
    while not stop.is_set():
        message = consumer.poll(POLL_SECONDS)
        if message is None:
            continue
        if error := message.error():
            if error.fatal():
                raise KafkaException(error)
            log.warning("%s", error)  # librdkafka retries
            continue
        handle(message, actions)
        try:
            consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:
            # Another member may have the partition now. It gets this event again.
            log.warning("offset %s was not committed: %s", message.offset(), error)


def main() -> int:
    """Run the subscriber and return its exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings.load(os.environ)
    actions = Actions(os.environ, stop)
    consumer = new_consumer(settings)
    try:
        consumer.list_topics(settings.topic, timeout=START_SECONDS)
    except KafkaException:
        consumer.close()
        log.critical("no broker is reachable at %s", settings.bootstrap_servers)
        return 1
    consumer.subscribe([settings.topic])
    try:
        subscribe(consumer, actions, stop)
    except StoppedError:
        log.info("stopped: the event in hand is not committed, and will be delivered again")
    except Exception:
        log.exception("failed: the event in hand is not committed, and will be delivered again")
        return 1
    finally:
        consumer.close()
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(main())
    except (ValueError, KeyError, OSError) as error:
        log.critical("wrong setting: %s", error)
        sys.exit(2)
