"""`make image-test`: build the image, inspect it, and run it on a real Kafka as the chart does.

1. Build the base image (once), and the image with the Dockerfile.
2. Start a local Kafka, and render the Helm chart for it.
3. Inspect the image: its user, labels, writable folders, and programs that it must not contain.
   Do this with the privileges that the chart gives, and with fewer.
4. Run the chart's Job, which creates the topics. Produce half of the demo's records.
5. Run the chart's pod with its user, privileges, mounts and settings. Its probes must succeed.
   Produce the other half, and wait until every record is handled.
6. Send SIGTERM. The container must exit with code 0 within 10 seconds.
7. Read the output topics with an independent client. Compare them with the plan and the metrics.

The last line of standard output is one JSON object with the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from consumer import __version__
from consumer.service.metrics import PUBLISHED
from dev.chart_fetching import ChartToolMissing
from dev.demo import LOCAL_TOPICS
from dev.demo_check import Check
from dev.demo_plan import INPUT_PARTITIONS, make_plan
from dev.demo_producer import DemoError, PacedProducer
from dev.free_ports import free_ports
from dev.image_base import ImageError
from dev.image_chart import chart_pods
from dev.image_container import Container
from dev.image_engine import IMAGE, ROOT, STRICT, Podman
from dev.kafka import LocalKafka
from dev.kafka_jars import LocalKafkaError
from tests.support.cluster import Cluster
from tests.support.verdicts import is_handled
from tests.support.waiting import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev.demo_plan import Plan
    from dev.image_chart import ChartPods, Pod

RECORDS = 2000
HANDLED_SECONDS = 60.0
MAX_END_SECONDS = 10.0
BYTES_OF_A_MB = 1_000_000
LABELS = ("title", "description", "version", "revision", "source", "licenses")
# Runs in the container, as its user, and prints the problems. Python needs -I: otherwise it also
# searches the working folder / for modules, and would take /dev for the package `dev`.
INSPECTION = """
import importlib.util, os, pathlib, shutil, sys
may_write = sys.argv[1:]
if 0 in (os.getuid(), os.geteuid(), os.getgid(), *os.getgroups()):
    print("it runs as root")
for folder in ("/", "/tmp", "/opt/checkpoint-ready", "/var/tmp", "/run"):
    try:
        pathlib.Path(folder, "written").touch()
        if folder not in may_write:
            print(f"{folder} can be written to")
    except OSError:
        if folder in may_write:
            print(f"{folder} cannot be written to")
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
if int(status["CapBnd"], 16) or int(status["NoNewPrivs"]) != 1:
    print("it may gain privileges")
for name in ("pip", "pip3", "gcc", "cc", "g++", "ld", "make", "git", "curl", "wget"):
    if shutil.which(name):
        print(f"{name} is on the path")
for name in ("pip", "setuptools", "wheel", "ensurepip", "pytest", "dev", "tests"):
    if importlib.util.find_spec(name):
        print(f"{name} can be imported")
"""
PYTHONS = ("/opt/checkpoint-ready/bin/python", "python3")


def inspect(podman: Podman, revision: str, pod: Pod) -> list[str]:
    """Return the problems in the image's description, and in containers that run the image."""
    described = podman.describe(IMAGE)
    labels: Mapping[str, str] = described["Labels"]
    found = {name: labels.get(f"org.opencontainers.image.{name}") for name in LABELS}
    problems = [f"it has no label {name}" for name, value in found.items() if not value]
    for name, value in (("version", __version__), ("revision", revision)):
        if found[name] != value:
            problems.append(f"its label {name} is {found[name]}, not {value}")
    if not described["User"].partition(":")[0].isdecimal():
        problems.append(f"its user is {described['User']}, not a number")
    for python in PYTHONS:
        # Check the Python of the base image too, because the other cannot see the base's packages.
        options = (f"--entrypoint={python}", "--env=PATH=/usr/local/bin:/usr/bin:/bin")
        problems += podman.run({}, ["-I", "-c", INSPECTION], *STRICT, *options).splitlines()
        # podman uses the last --entrypoint, so `options` overrides the one of the pod.
        as_in_chart = ["-I", "-c", INSPECTION, *pod.may_write]
        problems += podman.run({}, as_in_chart, *pod.options, *options).splitlines()
    return problems


def chart_values(servers: str) -> dict[str, Any]:
    """Return the values for a release on this Kafka."""
    return {
        "kafka": {"bootstrapServers": servers},
        "groupId": LOCAL_TOPICS.group,
        "topics": {
            "inputs": [LOCAL_TOPICS.input],
            "output": LOCAL_TOPICS.ready,
            "deadLetters": LOCAL_TOPICS.dead_letters,
            "inputPartitions": INPUT_PARTITIONS,
        },
        "httpPort": free_ports(1)[0],
        "monitoring": {"podMonitor": True},
    }


def work(podman: Podman, servers: str, plan: Plan, pods: ChartPods, folder: Path) -> dict[str, Any]:
    """Run the service in a container until it has handled the plan, and return the figures.

    Raises:
        ImageError: the message says what failed.
    """
    podman.run(pods.topics.environment, pods.topics.arguments, *pods.topics.options)
    cluster = Cluster(servers)
    producer = PacedProducer(servers, LOCAL_TOPICS.input, plan.records)
    producer.produce_up_to(0.5)
    outputs = (LOCAL_TOPICS.ready, LOCAL_TOPICS.dead_letters)
    reader = cluster.subscriber(*outputs)
    with Container(podman, pods.name, pods.service, folder) as container:
        first_shard_seconds = container.wait_until_running()
        while not any(record.topic == LOCAL_TOPICS.ready for record in reader.poll(0.01)):
            container.require_alive()
        first_event_seconds = time.monotonic() - container.started_at
        for path in (*pods.service.probes, pods.metrics_path):
            container.wait_until_ok(path)
        producer.produce_up_to(1)
        deadline = time.monotonic() + HANDLED_SECONDS
        while not (producer.is_done and is_handled(cluster, LOCAL_TOPICS)):
            container.require_alive()
            if time.monotonic() > deadline:
                raise ImageError(f"records are not handled in time; the log:\n{container.tail()}")
            producer.produce_up_to(1)
            time.sleep(0.1)
        id_table = container.logged("starting")["id_table"]
        counted = container.metric(pods.metrics_path, PUBLISHED.full_name)
        code, end_seconds = container.terminate()
        if code != 0 or end_seconds > MAX_END_SECONDS:
            took = f"SIGTERM: exit code {code} after {end_seconds:.1f} s; the log:"
            raise ImageError(f"{took}\n{container.tail()}")
    reader.close()
    verdict = _judge(servers, plan, producer)
    if counted != verdict["published"]:
        raise ImageError(f"{PUBLISHED.full_name} is {counted}, not {verdict['published']}")
    return {
        **verdict,
        "id_table": id_table,
        "first_shard_seconds": round(first_shard_seconds, 2),
        "first_event_seconds": round(first_event_seconds, 2),
        "end_seconds": round(end_seconds, 2),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the seven steps of the module docstring, and return the figures."""
    podman = Podman()
    base = arguments.base or podman.provide_base()
    revision = _revision()
    print(f"building the image on {base} …", file=sys.stderr)
    began = time.monotonic()
    podman.build(base, revision, arguments.extras)
    figures: dict[str, Any] = {"build_seconds": round(time.monotonic() - began, 1)}
    for name, image in (("image_mb", IMAGE), ("base_mb", base)):
        figures[name] = round(podman.describe(image)["Size"] / BYTES_OF_A_MB)
    with (
        tempfile.TemporaryDirectory(prefix="checkpoint-ready-image-") as folder,
        LocalKafka() as kafka,
    ):
        name = f"image-test-{uuid.uuid4().hex[:8]}"
        pods = chart_pods(chart_values(kafka.bootstrap_servers), name)
        if problems := inspect(podman, revision, pods.service):
            raise ImageError("\n".join(problems))
        if arguments.extras:
            exporter = ["-I", "-c", "import consumer.service.tracing.export"]
            podman.run({}, exporter, *STRICT, f"--entrypoint={PYTHONS[0]}")
        print("running the service in a container as the chart does …", file=sys.stderr)
        plan = make_plan(arguments.seed, RECORDS)
        return figures | work(podman, kafka.bootstrap_servers, plan, pods, Path(folder))


def main() -> int:
    """Run the test as a program."""
    parser = argparse.ArgumentParser(prog="make image-test", description=__doc__.partition("\n")[0])
    parser.add_argument("--base", help="base image to pull (default: one built by debootstrap)")
    parser.add_argument(
        "--extras",
        choices=["aws", "azure", "gcp", "oauth", "otel", "sources"],
        default="",
        help="add an extra to the image",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same records")
    try:
        figures = run(parser.parse_args())
    except (
        ImageError,
        ChartToolMissing,
        DemoError,
        DeadlineExceeded,
        LocalKafkaError,
        KafkaException,
    ) as error:
        print(f"the test of the image failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps(figures, separators=(",", ":")), flush=True)
    return 0


def _judge(servers: str, plan: Plan, producer: PacedProducer) -> dict[str, int]:
    """Read the output topics from their start, and compare them with the plan."""
    outputs = (LOCAL_TOPICS.ready, LOCAL_TOPICS.dead_letters)
    with Cluster(servers).subscriber(*outputs) as reader:
        verdict = Check(plan, producer.placed, LOCAL_TOPICS).verdict(reader.read_to_end())
    if not verdict.is_good:
        raise ImageError("\n".join(verdict.problems))
    return verdict.figures


def _revision() -> str:
    """Return the commit that is built, or "unknown" outside of a git repository."""
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - found on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
