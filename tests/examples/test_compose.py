"""compose.yaml: its commands run as processes of this machine, on a real broker, as written.

Docker is not needed. The addresses of containers become local ones, and the mounted folder a copy.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from consumer.config.variables import PREFIX, VARIABLES
from dev.free_ports import free_ports
from dev.kafka_jars import kafka_jars, kafka_version
from dev.kafka_node import READY_SECONDS, KafkaNode, wait_for_formats
from dev.kafka_settings import CLIENTS, CONTROLLER, NodeAddress
from tests.support.child_process import ROOT, ChildProcess
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.http_client import ask
from tests.support.verdicts import event_id
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

FILE = ROOT / "compose.yaml"
FOLDER = ROOT / "examples/compose"
MOUNTED = "/etc/checkpoint-ready"
BROKER = "kafka:19092"
PYTHON = "/opt/checkpoint-ready/bin/python"
HTTP_PORT, INGEST_PORT, PROVIDER_PORT = "8080", "8081", "8090"
PROCESSES = ("service", "ingest", "poll")
SAMPLES = {f"ftckpt_ftjob-ended_{step}" for step in range(1, 13)}
KAFKA_PORTS = ("9092", "9093", "19092")
FORMAT_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
RUN_SECONDS = 60

Service = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    """Return the services of the file."""
    services: dict[str, Service] = yaml.safe_load(FILE.read_text())["services"]
    return services


def documented(word: str) -> str:
    """Return the one command in the comment that begins with this word or these words."""
    (command,) = re.findall(rf"^#   ({word} .*)$", FILE.read_text(), re.MULTILINE)
    return str(command)


class Machine(NamedTuple):
    """A copy of the mounted folder, and the ports that replace those of containers."""

    folder: Path
    deployment: Deployment
    probes: dict[str, int]
    ingest: int
    provider: int

    def localize(self, word: str) -> str:
        """Return an argument of a container for a process of this machine."""
        return word.replace(MOUNTED, str(self.folder)).replace(PYTHON, sys.executable)

    def variables(self, service: Service) -> dict[str, Any]:
        """Return the variables of a container, without the prefix. The topics are the test's."""
        found = {name.removeprefix(PREFIX): it for name, it in service["environment"].items()}
        assert found.pop("BOOTSTRAP_SERVERS") == BROKER
        return found

    def start(self, name: str, service: Service) -> ServiceProcess:
        """Start the command of a container."""
        command = ["consumer", *map(self.localize, service["command"])]
        port = self.probes[name]
        return self.deployment.start(command=command, HTTP_PORT=port, **self.variables(service))

    def is_healthy(self, name: str, service: Service) -> bool:
        """Run the health check of a container."""
        marker, *check = map(self.localize, service["healthcheck"]["test"])
        assert marker == "CMD"
        check[-1] = check[-1].replace(HTTP_PORT, str(self.probes[name]))
        return subprocess.run(check, capture_output=True, check=False).returncode == 0


@pytest.fixture
def machine(cluster: Cluster, names: Names, tmp_path: Path) -> Iterator[Machine]:
    """Copy the folder with local ports. The topics of the service do not exist yet."""
    folder = tmp_path / "mounted"
    shutil.copytree(FOLDER, folder)
    ingest, provider, *probes = free_ports(2 + len(PROCESSES))
    for path, old, new in (
        (folder / "ingest.toml", INGEST_PORT, str(ingest)),
        (folder / "ingest.toml", MOUNTED, str(folder)),
        (folder / "accounts.toml", f"provider:{PROVIDER_PORT}", f"127.0.0.1:{provider}"),
    ):
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    with Deployment(cluster, names, create_topics=False) as deployment:
        ports = dict(zip(PROCESSES, probes, strict=True))
        yield Machine(folder, deployment, ports, ingest, provider)


def test_without_the_profile_only_kafka_starts(services: dict[str, Service]) -> None:
    """`docker compose up` without a profile is a Kafka for the tests."""
    assert [name for name, it in services.items() if "profiles" not in it] == ["kafka"]
    assert documented("export") == "export COMPOSE_PROFILES=all"
    assert all(it["profiles"] == ["all"] for name, it in services.items() if name != "kafka")
    assert services["kafka"]["ports"] == ["127.0.0.1:9092:9092"]


def test_every_port_is_published_on_this_machine_only(services: dict[str, Service]) -> None:
    """The token is in the repository, so the network must not reach the receiver."""
    ports = [port for it in services.values() for port in it.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_addresses_agree(services: dict[str, Service]) -> None:
    """Kafka advertises the address that the containers use, and each name is a service."""
    kafka = services["kafka"]["environment"]
    advertised = dict(it.split("://") for it in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised == {"PLAINTEXT": "localhost:9092", "INTERNAL": BROKER}
    listeners = {it.split("://")[0] for it in kafka["KAFKA_LISTENERS"].split(",")}
    protocols = {
        it.split(":")[0] for it in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    }
    assert listeners == protocols == {*advertised, kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    known = {variable.name for variable in VARIABLES}
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services)
        used = {it for it in service["environment"] if it.startswith(PREFIX)}
        assert used <= known, name


def test_kafka_starts_with_its_settings(
    services: dict[str, Service],
    local_brokers: None,  # noqa: ARG001 - for its effect
    tmp_path: Path,
) -> None:
    """Each listener gives its clients the address that they can resolve."""
    numbers = dict(zip(KAFKA_PORTS, free_ports(len(KAFKA_PORTS)), strict=True))
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): re.sub(
            r"\b(9092|9093|19092)\b", lambda port: str(numbers[port[0]]), value
        )
        for name, value in services["kafka"]["environment"].items()
    }
    address = NodeAddress(1, {CLIENTS: numbers["9092"], CONTROLLER: numbers["9093"]})
    node = KafkaNode(address, tmp_path / "node", kafka_jars(kafka_version()), temporary=False)
    settings["log.dirs"] = str(node.data)
    node.configure("".join(f"{name}={value}\n" for name, value in settings.items()))
    process = node.format(FORMAT_ID)
    assert process is not None
    try:
        wait_for_formats([(node, process)])
        node.start()
        node.wait_until_ready(time.monotonic() + READY_SECONDS)
        for port, host in (("9092", "localhost"), ("19092", "kafka")):
            admin = Cluster(f"localhost:{numbers[port]}").admin
            (broker,) = admin.list_topics(timeout=RUN_SECONDS).brokers.values()
            assert f"{broker.host}:{broker.port}" == f"{host}:{numbers[port]}"
    finally:
        node.kill()


@pytest.mark.timeout(180)
def test_the_whole_way(machine: Machine, services: dict[str, Service]) -> None:
    """The commands of the containers, `curl` and `tail` of the comment show ready events."""
    deployment = machine.deployment
    topics = services["topics"]
    created = deployment.run(*topics["command"], **machine.variables(topics))
    assert created.exit_code == 0, created.stderr
    provider = services["provider"]
    variables = {
        name: it.replace(PROVIDER_PORT, str(machine.provider))
        for name, it in provider["environment"].items()
    }
    server = ChildProcess([*map(machine.localize, provider["entrypoint"])], variables)
    try:
        for name in PROCESSES:
            machine.start(name, services[name])
        for name in PROCESSES:
            healthy = partial(machine.is_healthy, name, services[name])
            wait_until(healthy, RUN_SECONDS, what=f"the health of {name}")
        command = documented("curl").replace(INGEST_PORT, str(machine.ingest))
        sent = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert json.loads(sent.stdout) == {"accepted": 1}, sent
        expected = {"ftckpt_curl", *SAMPLES}
        cluster, ready = deployment.cluster, deployment.ready_topic
        wait_until(
            lambda: expected <= set(map(event_id, cluster.read(ready))), what="all ready events"
        )
        tail = documented("docker compose exec service").split()[5:]
        shown = deployment.run(*tail, "--max-events", str(len(expected)))
        assert shown.exit_code == 0, shown.stderr
        assert len(shown.json_lines) == len(expected)
        assert ask(machine.provider, "/v1/fine_tuning/jobs").status == 401
    finally:
        server.close()
