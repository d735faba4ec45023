"""Values of `ingest` and `poll` for the tests, and their configuration files."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from consumer.cli.ingest_trigger import triggered_accounts
from consumer.sources.ingest_config import IngestConfig
from consumer.sources.ingest_config_file import load_config
from consumer.sources.poll.accounts import Account, load_accounts
from tests.chart.rendering import SECRETS, Object, Rendering, render

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = f"{SECRETS}/token"
SECRET_FILES = {"token": {"secret": "bridge", "key": "token"}}
ACCOUNT = {"name": "openai", "kind": "openai", "key_file": TOKEN}
FILES = {"ingest": "ingest.toml", "poll": "accounts.toml"}


def ingest(config: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a chart are any
    """Return the values of a receiver: one token, and these."""
    senders = {"checkpoints": {"token_files": [TOKEN]}}
    config = senders | (config or {})
    return {"ingest": {"enabled": True, "secretFiles": SECRET_FILES, "config": config, **values}}


def poll(*accounts: dict[str, Any], **values: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    """Return the values of a poller: one account, or these."""
    every = list(accounts) or [ACCOUNT]
    return {"poll": {"enabled": True, "secretFiles": SECRET_FILES, "accounts": every, **values}}


def bridge_files(rendered: Rendering) -> dict[str, str]:
    """Return the TOML texts in the ConfigMaps, by component."""
    found = {}
    for item in rendered.all("ConfigMap"):
        component = item["metadata"]["labels"].get("app.kubernetes.io/component")
        if component in FILES:
            found[component] = item["data"][FILES[component]]
    return found


def ingest_config(rendered: Rendering, folder: Path) -> IngestConfig:
    """Return what the program reads from the configuration file."""
    path = folder / "ingest.toml"
    path.write_text(bridge_files(rendered)["ingest"])
    return load_config(path)


def accounts(rendered: Rendering, folder: Path) -> list[Account]:
    """Return what the program reads from the file of accounts."""
    path = folder / "accounts.toml"
    path.write_text(bridge_files(rendered)["poll"])
    return load_accounts(path)


def listed_accounts(rendered: Rendering, folder: Path) -> list[Account]:
    """Return the accounts whose ended jobs the receiver lists, as the program finds them."""
    path = folder / "listed.toml"
    text = rendered.one("ConfigMap", "-ingest")["data"].get("accounts.toml")
    if text is not None:
        path.write_text(text)
    return triggered_accounts(ingest_config(rendered, folder), None if text is None else path)


def bridge_pods(rendered: Rendering) -> dict[str, Object]:
    """Return the template of the pods of each bridge, by component."""
    found = {}
    for item in (*rendered.all("Deployment"), *rendered.all("CronJob")):
        spec = item["spec"]
        if item["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        component = item["metadata"]["labels"].get("app.kubernetes.io/component")
        if component in FILES:
            found[component] = spec["template"]
    return found


def secret_sources(pod: Object, volume: str) -> dict[str, tuple[str, str]]:
    """Return the files of a projected volume: path -> Secret and key."""
    (found,) = [it for it in pod["spec"]["volumes"] if it["name"] == volume]
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in found["projected"]["sources"]
        for item in source["secret"]["items"]
    }


def as_toml(value: Any) -> str:  # noqa: ANN401 - any value
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {as_toml(it)}" for key, it in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value)


def both(**values: Any) -> Rendering:  # noqa: ANN401 - values of a chart are any
    """Render the chart with both bridges."""
    return render(**(ingest() | poll() | values))


def base64_of(text: str) -> str:
    """Return a text as the data of a Secret."""
    return base64.b64encode(text.encode()).decode()
