"""Runs the configured actions for an event, and each of them once for each id.

Kafka delivers an event again if a subscriber ends after it has handled the event and before it has
committed the offset. So the ids of finished actions are stored. If the program is killed between
the end of an action and this store, the action runs again: it must accept the same id twice, too.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from send_webhook import WebhookSender, retry_delays
from start_evaluation import EvaluationStarter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from ready_event import ReadyEvent

    Action = Callable[[ReadyEvent], None]

log = logging.getLogger(__name__)


class HandledIds:
    """The ids that an action has handled, in an SQLite file.

    An event that a replay published again has the id of the first event, and is not handled again.
    """

    def __init__(self, file: str) -> None:
        """Open the file. `:memory:` remembers ids only until the program ends."""
        # Other threads may use the connection, but never two at a time.
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS handled (action TEXT, id TEXT, PRIMARY KEY (action, id))"
        )

    def contains(self, action: str, checkpoint_id: str) -> bool:
        """Return whether this action has handled this id."""
        query = "SELECT 1 FROM handled WHERE action = ? AND id = ?"
        with closing(self._connection.execute(query, (action, checkpoint_id))) as rows:
            return rows.fetchone() is not None

    def add(self, action: str, checkpoint_id: str) -> None:
        """Store that this action has handled this id."""
        self._connection.execute(
            "INSERT OR IGNORE INTO handled VALUES (?, ?)", (action, checkpoint_id)
        )


class Actions:
    """The actions that the environment variables configure."""

    def __init__(self, variables: Mapping[str, str], stopping: threading.Event) -> None:
        """Configure the actions; `stopping` ends the wait before a retry.

        Raises:
            KeyError: a variable is missing.
            OSError: the file of the secret cannot be read.
        """
        self._handled = HandledIds(variables.get("HANDLED_IDS_FILE") or ":memory:")
        self._actions: dict[str, Action] = {}
        if command := variables.get("EVALUATION_COMMAND"):
            seconds = float(variables.get("EVALUATION_TIMEOUT_SECONDS") or 900)
            self._actions["evaluation"] = EvaluationStarter(command, seconds)
        if uri := variables.get("MLFLOW_TRACKING_URI"):
            from register_model import ModelRegistrar  # noqa: PLC0415 - its import takes a second

            self._actions["registration"] = ModelRegistrar(uri)
        if url := variables.get("WEBHOOK_URL"):
            secret = Path(variables["WEBHOOK_SECRET_FILE"]).read_text(encoding="utf-8").strip()
            delays = retry_delays(variables.get("WEBHOOK_RETRY_SECONDS"))
            self._actions["webhook"] = WebhookSender(url, secret, delays, stopping)

    def run(self, event: ReadyEvent) -> None:
        """Run each action that has not handled this id.

        Raises:
            Exception: an action failed. The offset must not be committed then.
        """
        for name, action in self._actions.items():
            if self._handled.contains(name, event.id):
                log.info("%s of %s was done before", name, event.id)
                continue
            action(event)
            self._handled.add(name, event.id)
