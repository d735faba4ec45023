"""What can go wrong in one pass, by how much of the pass it ends. No message contains a secret."""

from consumer.errors import CheckpointReadyError


class PassFailed(CheckpointReadyError):
    """The pass of this account cannot continue: wrong credentials, no connection, or no Kafka."""


class ListingFailed(CheckpointReadyError):
    """One listing cannot be read. The pass continues with the other jobs of the account."""


class NotReachable(ListingFailed):
    """The provider gave no usable response, after all attempts. Several in a row end the pass."""


class NotFound(ListingFailed):
    """The provider does not know the job: it was deleted after the listing of the jobs."""
