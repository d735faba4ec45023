"""Verifies Ed25519 signatures (RFC 8032). The only module that imports cryptography.

cryptography is a part of the extra `sources`.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def verify(key: bytes, signature: bytes, content: bytes) -> bool:
    """Return whether the signature of the content is right for this key of 32 bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True
