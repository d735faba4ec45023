"""Signs deliveries as the text of Standard Webhooks says, independently of any library."""

from __future__ import annotations

import base64
import hmac
import time


def signature(key: bytes, delivery_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature with a shared key (version ``v1``)."""
    content = f"{delivery_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}"


def signed_headers(
    body: bytes, key: bytes, delivery_id: str = "msg_1", *, at: float | None = None
) -> dict[str, str]:
    """Return the headers of a delivery. `at` is the time (s) of the signature; None: now."""
    timestamp = str(int(time.time() if at is None else at))
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(key, delivery_id, timestamp, body),
    }
