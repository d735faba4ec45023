"""The hashes in C equal hashlib and the murmur2 of the Java client's partitioner."""

from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.pipeline import _hashes, hashes

contents = st.binary(max_size=700) | st.text(max_size=200)
BLOCK = 128


@given(contents)
@example(b"")
@example(b"x" * BLOCK)
@example(b"x" * (BLOCK + 1))
@example(b"x" * (2 * BLOCK))
def test_digests_equal_those_of_hashlib(content: bytes | str) -> None:
    """At every length, because a message is hashed in blocks of 128 bytes."""
    plain = content.encode() if isinstance(content, str) else content
    expected = blake2b(plain, digest_size=16).digest()
    assert _hashes.digest(content) == hashes.python_digest(content) == expected
    shorter = b"\x07" + blake2b(plain, digest_size=15).digest()
    assert _hashes.versioned_digest(7, content) == shorter
    assert hashes.python_versioned_digest(7, content) == shorter


@given(contents, st.integers(1, 2**31 - 1))
def test_partitions_equal_those_of_the_library(key: bytes | str, partitions: int) -> None:
    """The id of a checkpoint and its UTF-8 are the same key."""
    partition = _hashes.default_partition(key, partitions)
    assert partition == hashes.python_default_partition(key, partitions)
    assert 0 <= partition < partitions


@pytest.mark.parametrize(
    ("key", "expected"),
    [  # computed with org.apache.kafka.common.utils.Utils.murmur2 for 1,000,000 partitions
        (b"", 275646681 % 1_000_000),
        (b"21", -973932308 & 0x7FFFFFFF),
        (b"foobar", -790332482 & 0x7FFFFFFF),
        (b"a-little-bit-long-string", -985981536 & 0x7FFFFFFF),
    ],
)
def test_the_values_of_the_java_client(key: bytes, expected: int) -> None:
    """The partitioner of Java clients is the contract with the producers."""
    assert hashes.default_partition(key, 1_000_000) == expected % 1_000_000


@pytest.mark.parametrize(
    ("call", "arguments", "error"),
    [
        (_hashes.digest, (1,), TypeError),
        (_hashes.digest, ("\ud800",), UnicodeEncodeError),
        (_hashes.versioned_digest, (b"",), TypeError),
        (_hashes.versioned_digest, (256, b""), ValueError),
        (_hashes.versioned_digest, ("1", b""), TypeError),
        (_hashes.versioned_digest, (1, None), TypeError),
        (_hashes.default_partition, (b"",), TypeError),
        (_hashes.default_partition, (b"", 0), ValueError),
        (_hashes.default_partition, (None, 3), TypeError),
    ],
)
def test_wrong_arguments(call: Any, arguments: tuple[Any, ...], error: type[Exception]) -> None:  # noqa: ANN401 - any function
    """An error, not a wrong hash."""
    with pytest.raises(error):
        call(*arguments)


def test_the_compiled_functions_are_used() -> None:
    """Where they were built, as in every run of these tests."""
    assert hashes.digest is _hashes.digest
    assert hashes.versioned_digest is _hashes.versioned_digest
    assert hashes.default_partition is _hashes.default_partition
