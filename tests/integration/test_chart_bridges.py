"""The containers of `ingest` and `poll`, as Helm renders them, run as processes on a real Kafka.

Settings, arguments, configuration files and secret files are those of the pods. Only the folders of
the volumes differ, because a process has no file system of its own.
"""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from consumer.config import PREFIX
from dev.chart_fetching import ChartToolMissing
from dev.chart_tools import helm
from dev.free_ports import free_ports
from tests.chart.bridges import FILES, bridge_files, bridge_pods, secret_sources
from tests.chart.rendering import SECRETS, render
from tests.support.deployment import Deployment
from tests.support.ingest import TOKEN, Ingest
from tests.support.provider_server import KEY, ProviderServer
from tests.support.records import checkpoint
from tests.support.service_process import ServiceProcess
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chart.rendering import Rendering
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

OTHER_TOKEN = "another-token-for-tests-0123456789"
CONFIG = "/etc/checkpoint-ready/config"


@pytest.fixture(scope="module", autouse=True)
def chart_tools() -> None:
    """Provide Helm."""
    try:
        helm()
    except ChartToolMissing as error:
        pytest.skip(str(error))


class SecretVolume:
    """A folder that the kubelet fills: each file is a link to its newest version."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder = folder
        self._version = 0
        folder.mkdir()
        self.update(files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def update(self, files: dict[str, str]) -> None:
        """Replace all files in one step."""
        self._version += 1
        version = self.folder / f"..version_{self._version}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_text(content)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")


def render_for(deployment: Deployment, port: int, **bridge: Any) -> Rendering:  # noqa: ANN401 - values of a chart are any
    """Render the chart for the topics of a deployment, with this HTTP_PORT."""
    topics = {
        "inputs": [deployment.input_topic],
        "output": deployment.ready_topic,
        "deadLetters": deployment.dead_letter_topic,
    }
    kafka = {"bootstrapServers": deployment.cluster.bootstrap_servers}
    return render(kafka=kafka, groupId=deployment.group, topics=topics, httpPort=port, **bridge)


def start(
    rendered: Rendering, component: str, deployment: Deployment, folder: Path, secrets: Path
) -> ServiceProcess:
    """Start the container of a bridge."""
    text = bridge_files(rendered)[component].replace(SECRETS, str(secrets))
    (folder / FILES[component]).write_text(text)
    (container,) = bridge_pods(rendered)[component]["spec"]["containers"]
    arguments = [it.replace(CONFIG, str(folder)) for it in container["args"]]
    others = {
        name: value for name, value in deployment.environment.items() if not name.startswith(PREFIX)
    }
    return ServiceProcess(["consumer", *arguments], others | rendered.settings())


def test_the_receiver_takes_a_rotated_token_without_a_restart(
    cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """It serves both ports, and reads the secret again after the kubelet has replaced it."""
    port, probes = free_ports(2)
    with Deployment(cluster, names, create_topics=False) as deployment:
        config = {"port": port, "checkpoints": {"token_files": [f"{SECRETS}/token"]}}
        files = {"token": {"secret": "tokens", "key": "trainers"}}
        values = {"enabled": True, "config": config, "secretFiles": files}
        rendered = render_for(deployment, probes, ingest=values)
        pod = bridge_pods(rendered)["ingest"]
        (name,) = secret_sources(pod, "secrets")
        volume = SecretVolume(tmp_path / "secrets", {name: TOKEN})
        process = start(rendered, "ingest", deployment, tmp_path, volume.folder)
        with contextlib.closing(process):
            ingest = Ingest(process, port, probes)
            wait_until(lambda: ingest.is_ready() or process.has_ended, what="a ready receiver")
            assert ingest.post(checkpoint("before")).status == HTTPStatus.ACCEPTED
            volume.update({name: OTHER_TOKEN})
            assert ingest.post(checkpoint("refused")).status == HTTPStatus.UNAUTHORIZED
            reply = ingest.post(checkpoint("after"), token=OTHER_TOKEN)
            assert reply.status == HTTPStatus.ACCEPTED
            grace = pod["spec"]["terminationGracePeriodSeconds"]
            assert process.stop(grace) == 0
        keys = {record.key for record in cluster.read(deployment.input_topic)}
        assert keys == {b"before", b"after"}


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_the_poller_sends_the_checkpoints_of_its_account(
    kind: str, cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """A pod of the Deployment polls until it is stopped, and one of the CronJob ends by itself."""
    (port,) = free_ports(1)
    with Deployment(cluster, names, create_topics=False) as deployment, ProviderServer() as server:
        server.add_job("job", checkpoints=3)
        account = {"name": "acme", "kind": "openai", "base_url": server.url}
        account["key_file"] = f"{SECRETS}/key"
        files = {"key": {"secret": "keys", "key": "acme"}}
        values = {"enabled": True, "kind": kind, "accounts": [account], "secretFiles": files}
        rendered = render_for(deployment, port, poll=values)
        volume = SecretVolume(tmp_path / "secrets", {"key": KEY})
        process = start(rendered, "poll", deployment, tmp_path, volume.folder)
        with contextlib.closing(process):
            if kind == "CronJob":
                assert process.wait() == 0
            wait_until(
                lambda: len(cluster.read(deployment.input_topic)) >= 3, what="the checkpoints"
            )
            pod = bridge_pods(rendered)["poll"]["spec"]
            assert process.stop(pod["terminationGracePeriodSeconds"]) == 0
        keys = [record.key for record in cluster.read(deployment.input_topic)]
        assert sorted(keys, key=str) == sorted(one.encode() for one in server.ids)
