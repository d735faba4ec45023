"""The service's side: `checkpoint-ready pipe` makes the messages, and Pact compares them."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from pact import Verifier
from pact.types import Message
from provider_states import input_line

PACT = Path(__file__).parent / "pacts" / "model-registry-checkpoint-ready.json"
COMMAND = shlex.split(os.environ.get("PIPE_COMMAND", "checkpoint-ready pipe"))
CONTENT_TYPE = "application/cloudevents+json"
SECONDS = 30
# Otherwise the native library reports its use to its makers.
os.environ.setdefault("PACT_DO_NOT_TRACK", "true")


class Pipe:
    """The message producer. A provider state selects the checkpoint that it publishes."""

    def __init__(self) -> None:
        self._line = b""

    def set_state(self, state: str, action: str, parameters: dict[str, Any] | None) -> None:
        """Select the input line of a provider state."""
        del action, parameters
        self._line = input_line(state)

    def produce(self, name: str, metadata: dict[str, Any] | None) -> Message:
        """Return the ready event that the service makes of the selected line."""
        del metadata
        done = subprocess.run(
            COMMAND, input=self._line, capture_output=True, check=True, timeout=SECONDS
        )
        decision = json.loads(done.stdout)
        if decision["decision"] != "ready":
            raise ValueError(f"{name}: the service does not publish this line: {decision}")
        value = json.dumps(decision["event"]).encode()
        return Message(contents=value, metadata={}, content_type=CONTENT_TYPE)


def test_the_service_publishes_what_the_pact_says() -> None:
    """The events of the service fulfil the pact that the consumer's test wrote."""
    assert PACT.exists(), "run test_pact_consumer.py first: it writes the pact"
    pipe = Pipe()
    verifier = (
        Verifier("checkpoint-ready")
        .add_source(PACT)
        .message_handler(pipe.produce)
        .state_handler(pipe.set_state, teardown=False)
    )
    verifier.verify()
    assert verifier.results["result"] is True
