"""Signs client assertions (`private_key_jwt`, RFC 7523 section 2.2, RFC 7515).

Besides ``consumer.sources.ed25519`` the only module that imports `cryptography`. It is in the extra
`oauth`.
"""

import base64
import time
import uuid
from pathlib import Path
from typing import Any, Final

import msgspec

from consumer.errors import ConfigError
from consumer.kafka.tokens.token import TokenRefused

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ModuleNotFoundError as error:
    raise ConfigError(
        "CHECKPOINT_READY_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE needs the extra `oauth`: "
        f"pip install 'checkpoint-ready[oauth]' ({error.name} is missing)"
    ) from None

# The default of Kafka's `sasl.oauthbearer.assertion.claim.exp.seconds`.
LIFETIME_SECONDS: Final = 300
# The default of Kafka's `sasl.oauthbearer.assertion.claim.nbf.seconds`.
PAST_SECONDS: Final = 60
_SETTING: Final = "CHECKPOINT_READY_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE"
_P256_BYTES: Final = 32


class AssertionSigner:
    """Signs assertions with a private key. The file is read for each, so that it can be rotated."""

    def __init__(self, path: str, algorithm: str, key_id: str) -> None:
        """Read the key once.

        Raises:
            ConfigError: the key cannot be used.
        """
        self._path = path
        self._algorithm = algorithm
        self._header = {"alg": algorithm, "typ": "JWT", **({"kid": key_id} if key_id else {})}
        try:
            self._key()
        except TokenRefused as error:
            raise ConfigError(str(error)) from None

    def sign(self, client_id: str, audience: str) -> str:
        """Return a new assertion.

        Raises:
            TokenRefused: the key cannot be used any more.
        """
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "nbf": now - PAST_SECONDS,
            "exp": now + LIFETIME_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        signed = f"{_encoded(self._header)}.{_encoded(claims)}"
        return f"{signed}.{_base64(self._signature(signed.encode()))}"

    def _signature(self, signed: bytes) -> bytes:
        key = self._key()
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(signed, padding.PKCS1v15(), SHA256())
        # RFC 7518 section 3.4: both numbers, with a fixed length.
        numbers = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
        return b"".join(number.to_bytes(_P256_BYTES) for number in numbers)

    def _key(self) -> "rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey":
        try:
            key = load_pem_private_key(Path(self._path).read_bytes(), password=None)
        except OSError as error:
            raise TokenRefused(f"{_SETTING}: cannot read it: {error.strerror}") from None
        except TypeError:
            raise TokenRefused(
                f"{_SETTING}: the key is encrypted, and the service has no password for it: "
                "decrypt it"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise TokenRefused(f"{_SETTING}: the file has no private key (PEM)") from None
        if isinstance(key, rsa.RSAPrivateKey) and self._algorithm == "RS256":
            return key
        is_p256 = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(
            key.curve, ec.SECP256R1
        )
        if isinstance(key, ec.EllipticCurvePrivateKey) and is_p256 and self._algorithm == "ES256":
            return key
        raise TokenRefused(
            f"{_SETTING}: the key does not fit {self._algorithm}, which "
            "SASL_OAUTHBEARER_ASSERTION_ALGORITHM names: RS256 needs an RSA key, ES256 one on P-256"
        )


def _encoded(document: dict[str, Any]) -> str:
    return _base64(msgspec.json.encode(document))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
