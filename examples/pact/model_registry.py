"""A subscriber: it notes the best checkpoint of each base model, by the loss."""

import json
from dataclasses import dataclass, field

READY_TYPE = "fine_tuning.job.checkpoint.ready"


@dataclass(frozen=True)
class Candidate:
    """A checkpoint with a known loss."""

    model: str
    loss: float


@dataclass
class ModelRegistry:
    """The best checkpoint of each base model. A lower loss is better."""

    best: dict[str, Candidate] = field(default_factory=dict)
    handled: set[str] = field(default_factory=set)

    def handle(self, value: bytes) -> None:
        """Handle the value of a record of the ready topic. An event that comes again is ignored.

        Raises:
            ValueError: the value is no ready event.
        """
        event = json.loads(value)
        if event["type"] != READY_TYPE:
            raise ValueError(f"{event['type']} is not the type of a ready event")
        if event["id"] in self.handled:
            return
        self.handled.add(event["id"])
        data = event["data"]
        base_model, loss = data["model"]["base_model"], data["evaluation"].get("loss")
        if base_model is None or loss is None:
            return
        best = self.best.get(base_model)
        if best is None or loss < best.loss:
            name = data["checkpoint"]["fine_tuned_model_checkpoint"]
            self.best[base_model] = Candidate(name, loss)
