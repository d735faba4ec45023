"""The errors of the service. The class of an error determines the recovery.

::

    CheckpointReadyError
    ├── ConfigError       bad settings: exit 2, before anything is connected
    ├── ClusterError      an operator must fix topic, ACL or address: one line, exit 1
    │   └── Unreachable   no broker answers: the same at the start; a running job retries
    ├── Interrupted       a signal: committed work is kept; exit 130, or 143 after SIGTERM
    ├── LimitReached      an operator must decide (the dead-letter limit): one line, exit 1
    ├── NoProgress        stall detection: only a new process may fix it: one line, exit 1
    ├── TransientError    retry after a bounded backoff with jitter
    ├── TaskFailed        drop the shard's task and start a new one: the only recovery of a task
    │   ├── Fenced        the same, if the next heartbeat still assigns the shard here
    │   └── TimedOut      the same, and make the transaction smaller the next time
    ├── StateCorrupted    do not run this shard, and report it; the other shards continue
    ├── HangingTransaction  do not run this shard until an operator has ended the transaction;
    │                     a job ends with one line, exit 1
    └── InvalidRecord     one record cannot be published: write a dead letter, continue
                          (defined in ``consumer.pipeline.records``, next to its reasons)

Any other exception is a bug. It ends the process, and Kubernetes starts a new one.
"""


class CheckpointReadyError(Exception):
    """Base class of every error that this service raises deliberately."""


class ConfigError(CheckpointReadyError):
    """The settings are invalid. Nothing was connected. The message names variable and fix."""


class ClusterError(CheckpointReadyError):
    """The cluster has a problem that only an operator can fix (topic, ACL, address)."""


class Unreachable(ClusterError):
    """No broker is usable: the address is wrong, or all brokers are down at present."""


class Interrupted(CheckpointReadyError):
    """A signal stopped a command. The message says how to continue it."""

    def __init__(self, message: str, signal_number: int) -> None:
        """Keep how to continue, and the signal; the exit code follows from the signal."""
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class LimitReached(CheckpointReadyError):
    """Continuing would exceed a configured limit. Nothing is lost; an operator must decide."""


class NoProgress(CheckpointReadyError):
    """Work is pending and nothing progresses. The message says since when."""


class TransientError(CheckpointReadyError):
    """A call failed, and a retry may succeed."""


class TaskFailed(CheckpointReadyError):
    """The state of a shard's transaction or reads is unknown: drop its task, start a new one."""


class Fenced(TaskFailed):
    """Another producer with the same transactional id has fenced this one and owns the shard."""


class TimedOut(TaskFailed):
    """A call did not return within its timeout. Its outcome is unknown."""


class HangingTransaction(CheckpointReadyError):
    """The brokers left a transaction of this service open. The message has a command to end it."""


class StateCorrupted(CheckpointReadyError):
    """A shard's stored state contradicts the cluster. Continuing could duplicate or lose events."""
