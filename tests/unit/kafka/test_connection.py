"""The translation of the client library's errors."""

import asyncio

import pytest
from aiokafka import errors as kafka_errors

from consumer.errors import ClusterError, Fenced, LoginRefused, TaskFailed, TransientError
from consumer.kafka.client.connection import bounded, translate


def caused(error: Exception, cause: Exception) -> Exception:
    """Return an error raised from another."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kafka_errors.ProducerFenced(), Fenced),
        (kafka_errors.InvalidProducerEpoch(), Fenced),
        (caused(kafka_errors.KafkaError("x"), kafka_errors.ProducerFenced()), Fenced),
        (kafka_errors.MessageSizeTooLargeError(), TaskFailed),
        (kafka_errors.OutOfOrderSequenceNumber(), TaskFailed),
        (AssertionError("after a fence the library asserts"), TaskFailed),
        (kafka_errors.KafkaConnectionError("gone"), TransientError),
        (kafka_errors.SaslAuthenticationFailed("no"), LoginRefused),
        (kafka_errors.InvalidTransactionTimeout(), ClusterError),
        (kafka_errors.InvalidSessionTimeoutError(), ClusterError),
        (kafka_errors.InvalidTimestampError(), ClusterError),
    ],
)
def test_an_error_names_its_recovery(error: Exception, expected: type[Exception]) -> None:
    """Each failure of the library asks for one recovery."""
    assert type(translate(error, "send")) is expected


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka_errors.TopicAuthorizationFailedError({"b", "a"}), "topic a, b"),
        (kafka_errors.GroupAuthorizationFailedError("g"), "group g"),
        (kafka_errors.TransactionalIdAuthorizationFailed("g-0"), "transactional id g-0"),
    ],
)
def test_a_missing_acl_is_named(error: Exception, words: str) -> None:
    """The operator reads what to grant on what."""
    ours = translate(error, "start")
    assert isinstance(ours, ClusterError)
    assert words in str(ours)
    assert "missing ACL: grant" in str(ours)


async def test_a_call_that_the_library_cancels_is_a_failure() -> None:
    """A cancellation of the caller would end its task as if that was requested."""
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    with pytest.raises(TaskFailed, match="the commit was cancelled"):
        await bounded(cancelled, 10, "the commit")


def test_our_own_errors_stay_what_they_are() -> None:
    """A second translation changes nothing."""
    ours = TaskFailed("late")
    assert translate(ours, "send") is ours


async def test_a_call_without_an_answer_is_given_up() -> None:
    """No await of the library is without a bound, and what hangs is cancelled."""
    hanging = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(TaskFailed, match=r"the commit did not answer within 0\.01 s"):
        await bounded(hanging, 0.01, "the commit")
    with pytest.raises(asyncio.CancelledError):
        await hanging


def test_the_cause_behind_a_wrapped_error_is_told() -> None:
    """The library's own words hide what the broker answered."""
    wrapped = kafka_errors.KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = kafka_errors.InvalidTxnState()
    text = str(translate(wrapped, "commit"))
    assert "Unexpected error during batch delivery (by " in text
    assert "InvalidTxnState" in text
