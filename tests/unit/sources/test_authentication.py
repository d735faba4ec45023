"""Signatures and tokens: the published test vector, rotation, tolerance, and malformed headers."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.sources.authentication import (
    has_body_signature,
    has_public_key_signature,
    has_standard_signature,
    has_token,
    parse_public_key,
    parse_standard_secret,
)
from consumer.sources.ed25519 import verify
from consumer.sources.ingest_config import BodyHmacWebhook

# The test vector of the Standard Webhooks libraries.
SECRET = parse_standard_secret(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
AT = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {
    b"webhook-id": [b"msg_p5jXN8AQM9LWM0D4loKWxJek"],
    b"webhook-timestamp": [b"%d" % AT],
    b"webhook-signature": [SIGNATURE],
}
# The private key, of which this is the public one, and the signature are those of the test
# TestAsymmetricWebhookSign of the Go library of Standard Webhooks. Id, time and body are the same.
PUBLIC_KEY = parse_public_key(b"whpk_ZlN4eg7dSSqi0moX9hQUk3orrOouK3QVQSlJa248c/g=")
PUBLIC_KEY_SIGNATURE = (
    b"v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
)
OTHER = b"another-secret-of-a-rotation"
TOLERANCE = 300
KEY = b"0123456789abcdef"


def is_signed(
    *, body: bytes = BODY, now: float = AT, secrets: tuple[bytes, ...] = (SECRET,), **headers: bytes
) -> bool:
    """Verify the vector with other headers: ``webhook_id``, and so on."""
    ours = HEADERS | {name.replace("_", "-").encode(): [v] for name, v in headers.items()}
    return has_standard_signature(ours, body, secrets, now, TOLERANCE)


def test_the_published_vector() -> None:
    """It is accepted within 300 s in both directions."""
    assert is_signed()
    assert is_signed(now=AT + TOLERANCE)
    assert is_signed(now=AT - TOLERANCE)
    assert not is_signed(now=AT + TOLERANCE + 1)
    assert not is_signed(now=AT - TOLERANCE - 1)


def test_several_secrets_and_several_signatures() -> None:
    """During a rotation one of each is enough."""
    assert is_signed(secrets=(OTHER, SECRET))
    assert not is_signed(secrets=(OTHER,))
    assert is_signed(webhook_signature=b"v1,AAAA v1a,zzz " + SIGNATURE)


def test_every_part_is_signed() -> None:
    """Another body, id or time has another signature."""
    assert not is_signed(body=BODY + b" ")
    assert not is_signed(webhook_id=b"msg_other")
    assert not is_signed(webhook_timestamp=b"%d" % (AT + 1))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"v1",
        b"v1,",
        b"v2," + SIGNATURE[3:],
        SIGNATURE[3:],
        b",",
        b" ",
        b"v1,\xff\xfe",
        b"\x00",
    ],
)
def test_malformed_signatures_are_wrong(signature: bytes) -> None:
    """None of them raises an error."""
    assert not is_signed(webhook_signature=signature)


@pytest.mark.parametrize(
    "at", [b"", b"-1", b"1e9", b"\xd9\xa1", b"1" * 400, b" 1614265330", b"nan"]
)
def test_malformed_timestamps_are_wrong(at: bytes) -> None:
    """None of them raises an error."""
    assert not is_signed(webhook_timestamp=at)


def test_a_repeated_header_is_wrong() -> None:
    """It would be ambiguous which one was signed."""
    for name, values in HEADERS.items():
        repeated = HEADERS | {name: values * 2}
        assert not has_standard_signature(repeated, BODY, (SECRET,), AT, TOLERANCE)


@given(st.dictionaries(st.sampled_from(list(HEADERS)), st.lists(st.binary(max_size=40))))
def test_no_header_raises_an_error(headers: dict[bytes, list[bytes]]) -> None:
    """A header of any bytes is only wrong."""
    assert not has_standard_signature(headers, BODY, (SECRET,), AT, TOLERANCE)


def is_signed_by_public_key(
    *,
    body: bytes = BODY,
    now: float = AT,
    keys: tuple[bytes, ...] = (PUBLIC_KEY,),
    signature: bytes = PUBLIC_KEY_SIGNATURE,
) -> bool:
    """Verify the vector of `v1a` with other parts."""
    headers = HEADERS | {b"webhook-signature": [signature]}
    return has_public_key_signature(headers, body, keys, now, TOLERANCE, verify=verify)


def test_the_published_vector_of_a_public_key() -> None:
    """It is accepted within 300 s, among others, and while a key is replaced."""
    other = parse_public_key(b"whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert is_signed_by_public_key()
    assert is_signed_by_public_key(now=AT + TOLERANCE)
    assert not is_signed_by_public_key(now=AT + TOLERANCE + 1)
    assert not is_signed_by_public_key(body=BODY + b" ")
    assert is_signed_by_public_key(signature=b"v1a,AAAA v1,x " + PUBLIC_KEY_SIGNATURE)
    assert is_signed_by_public_key(keys=(other, PUBLIC_KEY))
    assert not is_signed_by_public_key(keys=(other,))
    assert not is_signed_by_public_key(keys=())


def test_the_number_of_signatures_is_limited() -> None:
    """A stranger must not be able to use much time of the processor with one request."""
    assert is_signed_by_public_key(signature=b"v1,x " * 9 + b"v1a,AAAA " * 7 + PUBLIC_KEY_SIGNATURE)
    assert not is_signed_by_public_key(signature=b"v1a,AAAA " * 8 + PUBLIC_KEY_SIGNATURE)


def test_the_two_schemes_are_not_mixed() -> None:
    """A public key is known to strangers. So it must never be used as a secret of `v1`."""
    digest = hmac.new(PUBLIC_KEY, b"", hashlib.sha256).digest()
    assert not is_signed_by_public_key(signature=SIGNATURE)
    assert not is_signed_by_public_key(signature=b"v1a," + base64.b64encode(digest))
    assert not is_signed_by_public_key(signature=PUBLIC_KEY_SIGNATURE.replace(b"v1a", b"v1"))
    assert not is_signed(webhook_signature=PUBLIC_KEY_SIGNATURE)
    assert not is_signed_by_public_key(signature=PUBLIC_KEY_SIGNATURE.replace(b"v1a", b"v2a"))


@pytest.mark.parametrize("signature", [b"", b"v1a", b"v1a,", b"v1a,AAAA", b"v1a,\xff", b"v1a,a b"])
def test_malformed_signatures_of_a_public_key_are_wrong(signature: bytes) -> None:
    """None of them raises an error."""
    assert not is_signed_by_public_key(signature=signature)


@pytest.mark.parametrize(
    "line", [b"whpk_AAAA", b"whpk_!", b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"whsk_AAAA"]
)
def test_a_public_key_has_32_bytes(line: bytes) -> None:
    """Any other text is refused when the file is read; so is a secret or a private key."""
    with pytest.raises(ValueError, match=r"whpk_|a public key has 32 bytes"):
        parse_public_key(line)


def hmac_webhook(**settings: object) -> BodyHmacWebhook:
    """Return a webhook that is signed as GitHub does, or otherwise."""
    defaults = {"header": "X-Signature", "prefix": "sha256="}
    return BodyHmacWebhook(secret_files=("unused",), **(defaults | settings))  # type: ignore[arg-type]


def test_a_body_signature_in_hex() -> None:
    """The prefix is required, and the case of the hex digits does not matter."""
    digest = hmac.new(KEY, BODY, hashlib.sha256).hexdigest().encode()
    for signature, is_right in (
        (b"sha256=" + digest, True),
        (b"sha256=" + digest.upper(), True),
        (digest, False),
        (b"sha256=" + digest[:-1], False),
        (b"sha256=\xff", False),
    ):
        headers = {b"x-signature": [signature]}
        assert has_body_signature(headers, BODY, (OTHER, KEY), hmac_webhook(), 0) is is_right


def test_a_signature_of_headers_and_body() -> None:
    """As MLflow signs: base64 of the HMAC over delivery id, timestamp and body."""
    webhook = hmac_webhook(
        header="X-MLflow-Signature",
        prefix="v1,",
        encoding="base64",
        signed_headers=("X-MLflow-Delivery-Id", "X-MLflow-Timestamp"),
        timestamp_header="X-MLflow-Timestamp",
    )
    digest = hmac.new(KEY, b"delivery-1.1614265330." + BODY, hashlib.sha256).digest()
    headers = {
        b"x-mlflow-signature": [b"v1," + base64.b64encode(digest)],
        b"x-mlflow-delivery-id": [b"delivery-1"],
        b"x-mlflow-timestamp": [b"1614265330"],
    }
    assert has_body_signature(headers, BODY, (KEY,), webhook, AT)
    assert not has_body_signature(headers, BODY, (KEY,), webhook, AT + TOLERANCE + 1)
    for name in headers:
        fewer = {other: value for other, value in headers.items() if other != name}
        assert not has_body_signature(fewer, BODY, (KEY,), webhook, AT)


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        (b"Bearer 0123456789abcdef", True),
        (b"bearer  0123456789abcdef ", True),
        (b"Bearer another-secret-of-a-rotation", True),
        (b"Bearer 0123456789abcde", False),
        (b"Basic 0123456789abcdef", False),
        (b"Bearer", False),
        (b"Bearer \xff", False),
        (b"", False),
    ],
)
def test_tokens(value: bytes, is_right: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Exactly one header with one of the tokens."""
    assert has_token({b"authorization": [value]}, (OTHER, KEY)) is is_right
    assert not has_token({b"authorization": [value, value]}, (OTHER, KEY))
    assert not has_token({}, (OTHER, KEY))


def test_a_secret_of_standard_webhooks_is_base64() -> None:
    """Any other text is refused when the file is read."""
    with pytest.raises(ValueError, match="whsec_"):
        parse_standard_secret(b"whsec_not base64")
