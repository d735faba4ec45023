"""Reads ready events with aiokafka, and runs the configured actions for each of them.

    python subscribe_aiokafka.py

README.md lists the environment variables. An offset is committed after its event is handled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from actions import Actions
from aiokafka_login import login_options
from ready_event import NotReadyEventError, decode
from send_webhook import StoppedError
from settings import Settings

GROUP_ID = "model-registry-aiokafka"
START_SECONDS = 10
POLL_MS = 200
# The longest time that the actions of one event may take.
MAX_POLL_INTERVAL_MS = 3_600_000

log = logging.getLogger("subscriber")


def new_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Return a consumer that is not started."""
    options = {
        # Without this, aiokafka also delivers events of aborted transactions. Each of these is
        # published again later, so the same checkpoint would be handled twice or more.
        "isolation_level": settings.isolation_level,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "fetch_max_wait_ms": 20,
        "max_poll_interval_ms": MAX_POLL_INTERVAL_MS,
        **login_options(settings.properties),
    }
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.group_id,
        **{name: value for name, value in options.items() if value is not None},
    )


async def connect(consumer: AIOKafkaConsumer, settings: Settings) -> str | None:
    """Connect and subscribe. Return what is wrong, or None."""
    try:
        async with asyncio.timeout(START_SECONDS):
            await consumer.start()
            topics = await consumer.topics()
    except (KafkaError, TimeoutError):
        return f"no broker is reachable at {settings.bootstrap_servers}, or it refused the login"
    if settings.topic not in topics:
        return f"the topic {settings.topic} does not exist, or this user may not read it"
    consumer.subscribe([settings.topic])
    return None


async def handle(record: ConsumerRecord, actions: Actions) -> None:
    """Run the actions for an event, and print its line. Skip a record that is no ready event."""
    try:
        event = decode(record.headers, record.value)
    except NotReadyEventError as error:
        log.warning("skipped offset %d of partition %d: %s", record.offset, record.partition, error)
        return
    # In a thread, so that the heartbeats of the consumer go on.
    await asyncio.to_thread(actions.run, event)
    print(event.line(record.partition, record.offset), flush=True)


async def subscribe(consumer: AIOKafkaConsumer, actions: Actions, stop: threading.Event) -> None:
    """Handle one record after the other until the program is asked to stop."""
    while not stop.is_set():
        found = await consumer.getmany(timeout_ms=POLL_MS, max_records=1)
        for partition, records in found.items():
            for record in records:
                await handle(record, actions)
                try:
                    await consumer.commit({partition: record.offset + 1})
                except (CommitFailedError, IllegalStateError):
                    # Another member has the partition now, and gets this event again.
                    log.warning("offset %d was not committed: rebalance", record.offset)


async def main() -> int:
    """Run the subscriber and return its exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = Settings.load(os.environ, GROUP_ID)
    actions = Actions(os.environ, stop)
    consumer = new_consumer(settings)
    try:
        if problem := await connect(consumer, settings):
            log.critical("%s", problem)
            return 1
        await subscribe(consumer, actions, stop)
    except StoppedError:
        log.info("stopped: the event in hand is not committed, and will be delivered again")
    except Exception:
        log.exception("failed: the event in hand is not committed, and will be delivered again")
        return 1
    finally:
        await consumer.stop()
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(asyncio.run(main()))
    except (ValueError, KeyError, OSError) as error:
        log.critical("wrong setting: %s", error)
        sys.exit(2)
