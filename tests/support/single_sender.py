"""Sends one record after the other with librdkafka, and measures each delivery."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Producer

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

DELIVERY_SECONDS = 30.0


class SingleSender:
    """A producer that rests between its records; a context manager that ends it."""

    def __init__(self, servers: str, topic: str, settings: Mapping[str, Any]) -> None:
        """Connect, with the defaults of librdkafka except for these settings."""
        self._topic = topic
        self._sent_at = 0.0
        self._seconds: float | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "broker.address.family": "v4",
                "log_level": 2,
                **settings,
            }
        )

    def __enter__(self) -> Self:
        """Send a first record, so that the connection is open."""
        self.send()
        wait_until(lambda: self.seconds, DELIVERY_SECONDS, what="the first delivery")
        return self

    def __exit__(self, *_: object) -> None:
        """End, without waiting for what is not delivered."""
        self._producer.purge()
        self._producer.flush(DELIVERY_SECONDS)

    def use_password(self, user: str, password: str) -> None:
        """Log in with another password from the next connection on."""
        self._producer.set_sasl_credentials(user, password)

    def send(self) -> None:
        """Send a record, and do not wait for its delivery."""
        self._seconds, self._sent_at = None, time.monotonic()
        self._producer.produce(self._topic, b"value", on_delivery=self._on_delivery)
        self._producer.poll(0)

    @property
    def seconds(self) -> float | None:
        """How long the delivery of the last record took; None if it is not delivered yet."""
        self._producer.poll(0)
        return self._seconds

    def _on_delivery(self, error: object, _: object) -> None:
        if error is None:
            self._seconds = time.monotonic() - self._sent_at
