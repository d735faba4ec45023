"""Checks who sent a request. Pure: headers, body, secrets and the time are arguments.

Secrets and signatures are compared in constant time, as bytes. A malformed header is refused like a
wrong signature, without saying what was wrong.

Sources: Standard Webhooks 1.0.0 (headers, signature schemes `v1` and `v1a`, several signatures,
tolerance); RFC 6750 (bearer tokens).
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from consumer.sources.ingest_config import BodyHmacWebhook

Secrets = Sequence[bytes]
HeaderValues = Mapping[bytes, Sequence[bytes]]
"""The values of each header of a request, by its name in lower case."""

Verify = Callable[[bytes, bytes, bytes], bool]
"""Takes a public key, a signature and the signed content."""

STANDARD_PREFIX: Final = b"whsec_"
PUBLIC_KEY_PREFIX: Final = b"whpk_"
PUBLIC_KEY_BYTES: Final = 32
_SCHEME: Final = b"v1,"
_PUBLIC_KEY_SCHEME: Final = b"v1a,"
_TIMESTAMP: Final = re.compile(rb"[0-9]{1,15}")
_MAX_SIGNATURES: Final = 32
# Each takes 0.2 ms for each key, and any client of the network can send them.
_MAX_PUBLIC_KEY_SIGNATURES: Final = 8
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+) *")


def parse_standard_secret(line: bytes) -> bytes:
    """Return the key in a secret of Standard Webhooks: base64 after `whsec_`.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(line.removeprefix(STANDARD_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("it is not base64 with the prefix whsec_") from None


def parse_public_key(line: bytes) -> bytes:
    """Return the Ed25519 key in a public key of Standard Webhooks: base64 after `whpk_`.

    Raises:
        ValueError: it is not base64, or has another size.
    """
    try:
        key = base64.b64decode(line.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("it is not base64 with the prefix whpk_") from None
    if len(key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(key)}")
    return key


def has_token(headers: HeaderValues, tokens: Secrets) -> bool:
    """Return whether the request has exactly one header `Authorization`, with a known token."""
    found = _BEARER.fullmatch(_single(headers, b"authorization"))
    return found is not None and _equals_any(found[1], tokens)


def has_standard_signature(
    headers: HeaderValues, body: bytes, secrets: Secrets, now: float, tolerance_seconds: float
) -> bool:
    """Return whether one signature is right for one secret, and the timestamp is near `now`.

    `now` is in Unix seconds.
    """
    content = _standard_content(headers, body, now, tolerance_seconds)
    if content is None:
        return False
    wanted = [_SCHEME + base64.b64encode(_hmac(secret, content, "sha256")) for secret in secrets]
    return True in [_equals_any(signature, wanted) for signature in _standard_signatures(headers)]


def has_public_key_signature(  # noqa: PLR0913 - as `has_standard_signature`, and `verify`
    headers: HeaderValues,
    body: bytes,
    keys: Sequence[bytes],
    now: float,
    tolerance_seconds: float,
    *,
    verify: Verify,
) -> bool:
    """Return whether one signature `v1a` is right for one key, and the timestamp is near `now`.

    `now` is in Unix seconds. `verify` checks an Ed25519 signature.
    """
    content = _standard_content(headers, body, now, tolerance_seconds)
    if content is None:
        return False
    texts = [it for it in _standard_signatures(headers) if it.startswith(_PUBLIC_KEY_SCHEME)]
    for text in texts[:_MAX_PUBLIC_KEY_SIGNATURES]:
        try:
            signature = base64.b64decode(text[len(_PUBLIC_KEY_SCHEME) :], validate=True)
        except binascii.Error:
            continue
        if any(verify(key, signature, content) for key in keys):
            return True
    return False


def has_body_signature(
    headers: HeaderValues, body: bytes, secrets: Secrets, webhook: BodyHmacWebhook, now: float
) -> bool:
    """Return whether the signature is right for one secret, and the timestamp, if any, is near."""
    signature = _single(headers, webhook.header.lower().encode())
    prefix = webhook.prefix.encode()
    if not signature.startswith(prefix):
        return False
    signature = signature[len(prefix) :]
    signed = []
    for name in webhook.signed_headers:
        found = _single(headers, name.lower().encode())
        if not found:
            return False
        signed.append(found)
    if webhook.timestamp_header:
        timestamp = _single(headers, webhook.timestamp_header.lower().encode())
        if not _is_near(timestamp, now, webhook.tolerance_seconds):
            return False
    content = b".".join((*signed, body))
    digests = [_hmac(secret, content, webhook.algorithm) for secret in secrets]
    if webhook.encoding == "hex":
        return _equals_any(signature.lower(), [digest.hex().encode() for digest in digests])
    return _equals_any(signature, [base64.b64encode(digest) for digest in digests])


def _standard_content(
    headers: HeaderValues, body: bytes, now: float, tolerance_seconds: float
) -> bytes | None:
    """Return what Standard Webhooks signs; None if a header is missing or the time is not near."""
    identity = _single(headers, b"webhook-id")
    timestamp = _single(headers, b"webhook-timestamp")
    if not identity or not _is_near(timestamp, now, tolerance_seconds):
        return None
    return b".".join((identity, timestamp, body))


def _standard_signatures(headers: HeaderValues) -> list[bytes]:
    return _single(headers, b"webhook-signature").split(b" ")[:_MAX_SIGNATURES]


def _hmac(secret: bytes, content: bytes, algorithm: str) -> bytes:
    return hmac.digest(secret, content, algorithm)


def _single(headers: HeaderValues, name: bytes) -> bytes:
    """Return the value of a header, or nothing if it is missing or repeated."""
    values = headers.get(name, ())
    return values[0] if len(values) == 1 else b""


def _is_near(timestamp: bytes, now: float, tolerance_seconds: float) -> bool:
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    return abs(now - int(timestamp)) <= tolerance_seconds


def _equals_any(found: bytes, wanted: Secrets) -> bool:
    # All are compared: the time must not depend on which one is equal.
    return True in [hmac.compare_digest(found, one) for one in wanted]
