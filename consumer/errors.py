"""The errors of the service. The class of an error determines the recovery.

::

    CheckpointReadyError
    ├── ConfigError       invalid settings or command options: exit with code 2
    ├── ClusterError      an operator must fix a topic, ACL or address: exit with code 1
    │   ├── SettingsRefused  the cluster does not allow a setting of a new topic
    │   ├── CreationDenied   the ACLs do not permit to create a topic
    │   ├── TopicsRefused  topics have settings that could lose records or ids
    │   ├── Unreachable   no broker answers: exit with code 1 at the start; a running job retries
    │   └── LoginRefused  exit with code 1 at the start; the running service retries for a minute,
    │                     because a new password may arrive here later than at the brokers
    ├── Interrupted       a signal: keep committed work, exit with code 130 (143 after SIGTERM)
    ├── LimitReached      an operator must decide (the dead-letter limit): exit with code 1
    ├── NoProgress        a stall, which a new process may end: exit with code 1
    ├── TransientError    retry after a bounded backoff with jitter
    │   └── Leaderless    the same; a shard's next transactions are smaller
    ├── TaskFailed        drop the shard's task and start a new one: the only recovery of a task
    │   ├── Fenced        start a new task only if the group still assigns the shard to this
    │   │                 process after the next heartbeat
    │   └── TimedOut      start a new task; if a send timed out, its transactions are smaller
    ├── StateCorrupted    do not run this shard, and report it; the other shards continue
    ├── HangingTransaction  do not run this shard until an operator has ended the transaction;
    │                     a job exits with code 1
    └── InvalidRecord     one record cannot be published: write a dead letter, continue
                          (defined in ``consumer.pipeline.records``, next to its reasons)

A process that exits with one of these errors prints its message, without a traceback.

Any other exception is a bug. It ends the process, and Kubernetes starts a new one.
"""


class CheckpointReadyError(Exception):
    """Base class of every error that this service raises deliberately."""


class ConfigError(CheckpointReadyError):
    """The settings or the options of a command are invalid. The message says how to fix them."""


class ClusterError(CheckpointReadyError):
    """The cluster has a problem that only an operator can fix (topic, ACL, address)."""


class SettingsRefused(ClusterError):
    """The cluster refuses a setting of a new topic, by a policy or because it does not allow it."""


class CreationDenied(ClusterError):
    """The ACLs do not permit to create a topic."""


class TopicsRefused(ClusterError):
    """Topics have settings with which records or ids could be lost. The message has the fixes."""


class Unreachable(ClusterError):
    """No broker is reachable: the address is wrong, or all brokers are down now."""


class LoginRefused(ClusterError):
    """A broker refuses the credentials or the certificate, or its certificate is not trusted."""


class Interrupted(CheckpointReadyError):
    """A signal stopped a command. The message says how to continue it."""

    def __init__(self, message: str, signal_number: int) -> None:
        """Store the message and the signal. The exit code is 128 plus the signal's number."""
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class LimitReached(CheckpointReadyError):
    """To continue would exceed a configured limit. Nothing is lost; an operator must decide."""


class NoProgress(CheckpointReadyError):
    """Work is pending and nothing progresses. The message says for how long."""


class TransientError(CheckpointReadyError):
    """A call failed, and a retry may succeed."""


class Leaderless(TransientError):
    """A partition that is needed has no leader, or had none when its state was last checked."""


class TaskFailed(CheckpointReadyError):
    """A task, or an attempt of a job, cannot continue: start a new one.

    For example, the outcome of a transaction or the positions of a reader are unknown.
    """


class Fenced(TaskFailed):
    """The brokers refuse this producer, because its epoch is not the latest of its id.

    Another producer with this transactional id took over, or the brokers have aborted a transaction
    that was open for longer than TRANSACTION_TIMEOUT_MS.
    """


class TimedOut(TaskFailed):
    """A call or a read did not end within its time limit. The outcome of a write is unknown."""


class TransactionUnanswered(TimedOut):
    """A step of a transaction got no answer: a broker hangs, or is overloaded.

    The next task waits before it fences. The coordinator would send the markers of the abort to a
    leader that hangs, and wait 30 s for it, unless the brokers have replaced this leader.
    """


class HangingTransaction(CheckpointReadyError):
    """The brokers left a transaction of this service open. The message has commands to end it."""


class StateCorrupted(CheckpointReadyError):
    """A shard's stored state contradicts the cluster. Continuing could duplicate or lose events."""
