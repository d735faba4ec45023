"""The containers of `ingest` and `poll`, as Helm renders them, run as processes on a real Kafka.

Settings, arguments, configuration files and secret files are those of the pods. Only the folders of
the volumes differ, because a process has no file system of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import subprocess
import sys
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import pytest

from consumer.config import PREFIX
from dev.chart_fetching import ChartToolMissing
from dev.chart_tools import helm
from dev.free_ports import free_ports
from tests.chart.bridges import FILES, bridge_files, bridge_pods, secret_sources
from tests.chart.rendering import SECRETS, render
from tests.support.deployment import Deployment
from tests.support.ingest import TOKEN, Ingest, post
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
LAG_SECONDS = 1.0  # until load balancers know that a pod ends
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


class Senders:
    """Send checkpoints one after the other to the endpoints that a load balancer knows."""

    def __init__(self, count: int) -> None:
        self.ports: tuple[int, ...] = ()
        self.accepted: set[bytes] = set()
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,), daemon=True)
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the requests in progress."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        """Wait until every endpoint has probably got requests."""
        enough = len(self.accepted) + 100
        wait_until(lambda: self.failures or len(self.accepted) >= enough, what="more requests")

    def _send(self, sender: int) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        for number in itertools.count():
            if self._stopped.is_set():
                break
            port = random.choice(self.ports)  # noqa: S311 - not a secret
            if port not in connections:
                connections[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            self._send_one(connections[port], f"{sender}-{number}")
        for connection in connections.values():
            connection.close()

    def _send_one(self, connection: http.client.HTTPConnection, one: str) -> None:
        try:
            reply = post(connection, checkpoint(one), Authorization=f"Bearer {TOKEN}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
            return
        if reply.status == HTTPStatus.ACCEPTED:
            self.accepted.add(one.encode())
        else:
            self.failures.append(str(reply.status))


def test_a_rollout_loses_no_request(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """No request fails, although load balancers send requests to a pod that ends.

    1. A receiver runs and gets requests. A new one starts beside it and gets some of them.
    2. The old pod is deleted: the kubelet runs `preStop`. Load balancers know it a second later.
    3. SIGTERM ends the old receiver within the grace period, and the new one gets all requests.
    """
    config = {"checkpoints": {"token_files": [f"{SECRETS}/token"]}}
    values = {"enabled": True, "secretFiles": {"token": {"secret": "tokens", "key": "trainers"}}}
    volume = SecretVolume(tmp_path / "secrets", {"token": TOKEN})
    with (
        Deployment(cluster, names, create_topics=False) as deployment,
        contextlib.ExitStack() as stack,
    ):
        pods = []
        for pod_name in ("old", "new"):
            port, probes = free_ports(2)
            own = {**values, "drainSeconds": 2, "config": {**config, "port": port}}
            rendered = render_for(deployment, probes, ingest=own)
            folder = tmp_path / pod_name
            folder.mkdir()
            process = start(rendered, "ingest", deployment, folder, volume.folder)
            stack.enter_context(contextlib.closing(process))
            pods.append(Ingest(process, port, probes))
        old, new = pods
        spec = bridge_pods(rendered)["ingest"]["spec"]
        wait_until(lambda: old.is_ready() and new.is_ready(), what="ready receivers")
        senders = Senders(4)
        senders.ports = (old.port,)  # 1.
        with senders:
            senders.wait_for_more()
            senders.ports = (old.port, new.port)
            senders.wait_for_more()
            timer = threading.Timer(LAG_SECONDS, setattr, (senders, "ports", (new.port,)))  # 2.
            timer.start()
            began = time.monotonic()
            _, *arguments = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            subprocess.run([sys.executable, *arguments], check=True, timeout=30)
            left = spec["terminationGracePeriodSeconds"] - (time.monotonic() - began)
            assert old.process.stop(left) == 0  # 3.
            senders.wait_for_more()
        assert senders.failures == []
        assert new.process.terminate() == 0
        keys = {record.key for record in cluster.read(deployment.input_topic)}
        assert keys == senders.accepted


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
