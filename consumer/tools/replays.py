"""The replays of a group, as its journal tells them; nothing is disturbed by looking."""

from consumer.config import Settings
from consumer.engine.journal import REPLAY
from consumer.tools.replay_state import ReplayState, read_states
from consumer.tools.session import open_session


async def list_replays(settings: Settings) -> list[ReplayState]:
    """Return every replay, the latest first.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    async with open_session(settings, "replays") as session:
        return read_states(await session.read_journal(lambda key: key.startswith(REPLAY)))


async def find_replay(settings: Settings, name: str) -> ReplayState | None:
    """Return the replay of this name, None when there is none.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    found = (state for state in await list_replays(settings) if state.name == name)
    return next(found, None)
