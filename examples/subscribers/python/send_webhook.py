"""Sends each event to an HTTP endpoint, signed as Standard Webhooks says.

The header `webhook-id` is the quoted id of the event, the same in each attempt. So the receiver can
drop what it has received before. The specification is at https://www.standardwebhooks.com.
"""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests
from standardwebhooks import Webhook

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ready_event import ReadyEvent

log = logging.getLogger(__name__)

# The first retries that the specification recommends. Its later ones come after hours: the
# subscriber ends before, and Kafka delivers the event again when it is restarted.
RETRY_SECONDS = (5.0, 300.0, 1800.0)
JITTER = 0.1
REQUEST_SECONDS = 20.0


class WebhookError(Exception):
    """The endpoint did not accept the event in any attempt."""


class StoppedError(Exception):
    """The program was asked to stop before the endpoint accepted the event."""


def retry_delays(text: str | None) -> Sequence[float]:
    """Return the delays in `text` ("5,300"), in seconds; default: `RETRY_SECONDS`."""
    return tuple(map(float, text.split(","))) if text else RETRY_SECONDS


class WebhookSender:
    """Sends events to one endpoint."""

    def __init__(
        self, url: str, secret: str, delays: Sequence[float], stopping: threading.Event
    ) -> None:
        """Set the endpoint, its secret (`whsec_…`), and the seconds before each retry."""
        self._url = url
        self._webhook = Webhook(secret)
        self._delays = delays
        self._stopping = stopping
        self._is_gone = False

    def __call__(self, event: ReadyEvent) -> None:
        """Send the event until the endpoint accepts it.

        If the endpoint answers 410 (Gone), no event is sent again before the program restarts.

        Raises:
            WebhookError: no attempt succeeded.
            StoppedError: the program was asked to stop between two attempts.
        """
        for delay in (0.0, *self._delays):
            if self._is_gone:
                return
            if delay and self._stopping.wait(delay * random.uniform(1, 1 + JITTER)):  # noqa: S311 - no secret
                raise StoppedError
            if self._attempt(event):
                return
        raise WebhookError(f"the webhook endpoint did not accept {event.id}")

    def _attempt(self, event: ReadyEvent) -> bool:
        """Return whether the endpoint has accepted the event."""
        # Quoted: a dot separates the signed parts, and a header must not contain every character.
        message_id = event.quoted_id
        now = datetime.now(tz=UTC)
        headers = {
            "content-type": "application/cloudevents+json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, event.json),
        }
        try:
            answer = requests.post(
                self._url,
                data=event.json.encode(),
                headers=headers,
                timeout=REQUEST_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            log.warning("webhook of %s failed: %s", event.id, type(error).__name__)
            return False
        if answer.status_code == HTTPStatus.GONE:
            self._is_gone = True
            log.error("the webhook endpoint is gone (410): no event is sent to it any more")
            return True
        if not HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            log.warning("webhook of %s failed: status %d", event.id, answer.status_code)
            return False
        return True
