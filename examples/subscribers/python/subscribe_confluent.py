"""Reads ready events with confluent-kafka, and runs the configured actions for each of them.

    python subscribe_confluent.py

README.md lists the environment variables. An offset is committed after its event is handled.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
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

GROUP_ID = "model-registry-confluent"
START_SECONDS = 10
POLL_SECONDS = 0.2
# The longest time that the actions of one event may take.
MAX_POLL_INTERVAL_MS = 3_600_000

log = logging.getLogger("subscriber")


def new_consumer(settings: Settings) -> Consumer:
    """Return a consumer without a subscription."""
    options = {
        **settings.properties,
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


def problem_at_start(consumer: Consumer, settings: Settings) -> str | None:
    """Return what prevents the subscription, or None."""
    try:
        found = consumer.list_topics(settings.topic, timeout=START_SECONDS)
    except KafkaException:
        return f"no broker is reachable at {settings.bootstrap_servers}, or it refused the login"
    if error := found.topics[settings.topic].error:
        return f"the topic {settings.topic} cannot be read: {error.str()}"
    return None


def set_at_signal(stop: threading.Event) -> None:
    """Set the event at SIGTERM and SIGINT.

    A thread sets it. A signal handler runs in the main thread, which may hold the lock of the event
    at that moment (in `wait`, or in `set` of the signal before), and would wait for it for ever.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)  # noqa: FBT003 - the method has no keyword
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # without a handler, the signal ends the program

    threading.Thread(target=_set_at_bytes, args=(stop, receiver, sender), daemon=True).start()


def _set_at_bytes(stop: threading.Event, receiver: socket.socket, _sender: socket.socket) -> None:
    # It holds both sockets until the program ends: a closed one would lose its number to a file.
    while receiver.recv(1):
        stop.set()


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
    set_at_signal(stop)
    settings = Settings.load(os.environ, GROUP_ID)
    actions = Actions(os.environ, stop)
    consumer = new_consumer(settings)
    try:
        if problem := problem_at_start(consumer, settings):
            log.critical("%s", problem)
            return 1
        consumer.subscribe([settings.topic])
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
    except (ValueError, KeyError, OSError, KafkaException) as error:
        log.critical("wrong setting: %s", error)
        sys.exit(2)
