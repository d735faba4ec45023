"""The service reads record batches as the Java client does, whatever their bytes are."""

from tests.batches.run import run

BATCHES = 3000


def test_batches_of_every_kind_are_read_as_java_reads_them() -> None:
    """Each kind of outcome occurs, and none contradicts the Java client."""
    outcomes = run(BATCHES, seed=1)
    assert outcomes.total() == BATCHES
    assert min(outcomes["read"], outcomes["packed"], outcomes["corrupt"]) > BATCHES // 100
