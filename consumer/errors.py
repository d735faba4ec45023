"""The errors of the service; the class says which recovery is asked for.

::

    CheckpointReadyError
    ├── ConfigError       bad settings: exit 2, before anything is connected
    ├── ClusterError      the cluster needs a person (topic, ACL, address): one line, exit 1
    │   └── Unreachable   no broker answers: the same at a start, but a tool at work tries again
    ├── Interrupted       asked to stop: what is committed stays; exit 130, or 143 by SIGTERM
    ├── LimitReached      a person must decide (the dead-letter limit): one line, exit 1
    ├── NoProgress        the watchdog: only a new process may mend it: one line, exit 1
    ├── TransientError    try again after a bounded, jittered backoff
    ├── TaskFailed        drop the shard's task and start a new one: the only recovery of a task
    │   ├── Fenced        the same, if the shard is still wanted after the next heartbeat
    │   └── TimedOut      the same, and what took too long should be smaller the next time
    ├── StateCorrupted    refuse to run this shard, loudly; the other shards go on
    ├── HangingTransaction  do not run this shard until an operator has ended the transaction;
    │                     a tool ends with one line, exit 1
    └── InvalidRecord      one record that cannot be published: a dead letter, then go on
                          (defined in ``consumer.pipeline.records``, next to its reasons)

Anything else is a bug: it ends the process, and the supervisor (Kubernetes) starts a new one.
"""


class CheckpointReadyError(Exception):
    """Base of every error that this service raises on purpose."""


class ConfigError(CheckpointReadyError):
    """The settings are wrong, nothing was connected; the message names variable and mend."""


class ClusterError(CheckpointReadyError):
    """The cluster refuses or lacks what only a person can give it (topic, ACL, address)."""


class Unreachable(ClusterError):
    """No broker can be used there: a wrong address, or all are down for the moment."""


class Interrupted(CheckpointReadyError):
    """Somebody asked a command to stop; the message says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        """Say how to go on, and by which signal the command was asked."""
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class LimitReached(CheckpointReadyError):
    """Going on would do what the operator has forbidden; nothing is lost, a person decides."""


class NoProgress(CheckpointReadyError):
    """The process has work and does not get on with it; the message says since when."""


class TransientError(CheckpointReadyError):
    """A call failed in a way that time may heal."""


class TaskFailed(CheckpointReadyError):
    """A shard's transaction or reads are in doubt: throw its task away, start a new one."""


class Fenced(TaskFailed):
    """Another producer with the same transactional id has taken the shard over."""


class TimedOut(TaskFailed):
    """A call did not answer within its bound; its outcome is unknown."""


class HangingTransaction(CheckpointReadyError):
    """The brokers left a transaction of ours open; the message holds the command that ends it."""


class StateCorrupted(CheckpointReadyError):
    """A shard's stored state contradicts the cluster; running on could publish twice or lose."""
