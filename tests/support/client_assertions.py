"""Client assertions (RFC 7523): keys that sign them, and the checks of an identity provider."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.certificates import run_openssl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_KINDS: Final = {
    "RS256": "RSA -pkeyopt rsa_keygen_bits:2048",
    "ES256": "EC -pkeyopt ec_paramgen_curve:prime256v1",
}


def private_key(folder: Path, algorithm: str) -> Path:
    """Create a private key for an algorithm."""
    run_openssl(folder, f"genpkey -algorithm {_KINDS[algorithm]} -out {algorithm}.pem")
    return folder / f"{algorithm}.pem"


def part_of(token: str, index: int) -> bytes:
    """Return a part of a JWT, decoded."""
    part = token.split(".")[index]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def header_of(token: str) -> Any:  # noqa: ANN401 - a document
    """Return the header of a JWT."""
    return json.loads(part_of(token, 0))


def verify(token: str, key_file: Path) -> None:
    """Verify the signature of a JWT by the public part of a key.

    Raises:
        InvalidSignature: another key has signed it.
    """
    key = load_pem_private_key(key_file.read_bytes(), None)
    signed, signature = token.rpartition(".")[0].encode(), part_of(token, 2)
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature, signed, padding.PKCS1v15(), SHA256())
        return
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


class AssertionVerifier:
    """Checks the client assertions of one client as RFC 7523 section 3 says."""

    def __init__(self, client_id: str, key_file: Path, audience: str) -> None:
        """`audience` is the address of the token endpoint."""
        self._client_id = client_id
        self._key_file = key_file
        self._audience = audience
        self._ids: set[str] = set()

    @property
    def accepted(self) -> int:
        """How many assertions had a valid signature."""
        return len(self._ids)

    def problem(self, form: Mapping[str, str]) -> str | None:
        """Return why a request does not prove the identity of the client; None if it does."""
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return "no client assertion"
        assertion = form["client_assertion"]
        try:
            verify(assertion, self._key_file)
        except InvalidSignature:
            return "the signature does not fit the registered key"
        found, now = json.loads(part_of(assertion, 1)), time.time()
        problems = {
            "another client": {found["iss"], found["sub"], form["client_id"]} != {self._client_id},
            "another audience": found["aud"] != self._audience,
            "not valid now": not found["nbf"] <= now < found["exp"],
            "used already": found["jti"] in self._ids,
        }
        self._ids.add(found["jti"])
        return next((problem for problem, is_so in problems.items() if is_so), None)
