"""What a transaction says of itself, for logs and metrics."""

from consumer.shard.transaction import MAX_LOGGED_CHARS, report
from tests.builders import batch, checkpoint, decide, record


def test_a_log_line_holds_the_beginning_of_a_long_id() -> None:
    """Producers choose ids of any length: ten lines of a megabyte each would block the process."""
    job_id = "j" * 100_000
    decision = decide(batch(record(checkpoint(id="c" * 30_000, fine_tuning_job_id=job_id))))
    (event,) = report(0, decision, {}, 1.0, {}, sources=()).events
    assert event["job_id"] == "j" * MAX_LOGGED_CHARS
    assert event["id"] == "c" * MAX_LOGGED_CHARS
    assert decision.ready[0].job_id == job_id
