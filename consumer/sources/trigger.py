"""What a webhook triggers: a sender of webhooks only reports that a job has ended.

`triggered_listings` lists the job.
"""

from typing import Protocol


class Trigger(Protocol):
    """Reacts to the end of a fine-tuning job. It must return at once, and never raise.

    It is only a hint: a webhook may be lost or repeated.
    """

    def job_ended(self, account: str, job_id: str) -> None:
        """List the checkpoints of this job of the account soon."""
