"""Registers each checkpoint in the MLflow Model Registry.

There is one registered model for each fine-tuning job, and one version for each checkpoint. So the
versions of a model can be compared with each other: they have the same data and the same base
model. The tag `base_model` finds the models of other jobs with the same base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from ready_event import ReadyEvent

ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"


class ModelRegistrar:
    """Creates registered models and their versions."""

    def __init__(self, tracking_uri: str) -> None:
        """Set the address of the MLflow server."""
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    def __call__(self, event: ReadyEvent) -> None:
        """Create the version of this checkpoint if there is none.

        A version has no unique key of its own, so this searches for the tag first.

        Raises:
            MlflowException: the server refused a request, or was not reachable.
        """
        # MLflow does not allow `/` and `:` in a name, and a `'` would end a string of the filter.
        name = quote(event.job, safe="")
        checkpoint_id = event.quoted_id
        same = f"name = '{name}' AND tags.checkpoint_id = '{checkpoint_id}'"
        self._create_model(name, event.base_model)
        if self._client.search_model_versions(same, max_results=1):
            return
        tags = {
            "checkpoint_id": checkpoint_id,
            "job": event.job,
            "step": str(event.step),
            "loss": "" if event.loss is None else repr(event.loss),
        }
        self._client.create_model_version(
            name,
            # A name, which MLflow does not open: the provider has the files.
            source=f"checkpoint:/{quote(event.model, safe='')}",
            tags=tags,
            description=event.model,
            await_creation_for=0,
        )

    def _create_model(self, name: str, base_model: str | None) -> None:
        try:
            self._client.create_registered_model(name, tags={"base_model": base_model or ""})
        except MlflowException as error:
            if error.error_code != ALREADY_EXISTS:
                raise
