"""`make demo`: run the service on a real Kafka, and check that no event is lost or published twice.

1. Start a local Kafka (or use KAFKA_BOOTSTRAP_SERVERS, plaintext) and create the topics.
2. Make a plan from a seed: some thousand records, and the expected output of each; some dozen
   signed HTTP requests; and jobs of a local provider.
3. Start two service processes, `ingest` and `poll`. Produce, send the requests, let the jobs run.
   Kill a service process, `ingest` and `poll` by SIGKILL, and start each again.
4. Show the ready events until every record is handled. Stop the processes.
5. Read the topics from their start with an independent client. Compare them with the plan, with the
   acknowledged requests, and with the list of the provider.

The last line of standard output is one JSON object with the figures. Exit code 0 means that no
event is lost or published twice, and that every record has the expected output. The demo stops all
of its processes before it ends, also after an error or a signal.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from dev.demo_check import MAX_PROBLEMS_SHOWN, Verdict
from dev.demo_display import Display
from dev.demo_plan import INPUT_PARTITIONS, make_plan
from dev.demo_producer import DemoError
from dev.demo_run import Bridges, Demo, create_topics
from dev.kafka import LocalKafka
from dev.kafka_jars import LocalKafkaError
from tests.support.cluster import Cluster
from tests.support.topics import Topics
from tests.support.waiting import DeadlineExceeded

if TYPE_CHECKING:
    from types import FrameType

LOCAL_TOPICS = Topics(
    group="checkpoint-ready",
    input="fine-tuning.checkpoints",
    ready="fine-tuning.checkpoint-ready",
    dead_letters="fine-tuning.checkpoints.dead-letters",
)
MIN_RECORDS = 2000
DEFAULT_RECORDS = 4000
DEFAULT_SECONDS = 8.0
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def run(arguments: argparse.Namespace, display: Display) -> Verdict:
    """Run the five steps of the module docstring. Always stop the processes at the end."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="checkpoint-ready-demo-"))
        )
        stack.callback(_ignore_interrupts)
        servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        topics = LOCAL_TOPICS
        if servers:
            topics = _unique_topics()
            display.note(f"using the Kafka at {servers}; names begin with {topics.group}")
        else:
            kafka = LocalKafka()
            display.note(f"starting Apache Kafka {kafka.version} …")
            kafka.start()
            stack.callback(kafka.stop)
            stack.callback(_ignore_interrupts)
            servers = kafka.bootstrap_servers
            display.note(f"Kafka listens on {servers}")
        cluster = Cluster(servers)
        display.note(f"checkpoint-ready topics create --input-partitions {INPUT_PARTITIONS}")
        create_topics(cluster, topics, INPUT_PARTITIONS)
        if topics is not LOCAL_TOPICS:
            stack.callback(_delete, cluster, topics)
        plan = make_plan(
            arguments.seed,
            arguments.records,
            ready_max_bytes=cluster.max_message_bytes(topics.ready),
        )
        display.note(
            f"producing {len(plan.records):,} records of {plan.distinct_ids:,} checkpoints to "
            f"{INPUT_PARTITIONS} partitions (seed {arguments.seed}), for two service processes"
        )
        bridges = Bridges.create(arguments.seed, topics, servers, folder)
        display.note(
            f"sending {bridges.sender.requests} requests to checkpoint-ready ingest, and polling "
            "a provider by checkpoint-ready poll"
        )
        demo = Demo(cluster, topics, plan, folder, bridges)
        stack.callback(demo.kill)
        stack.callback(_ignore_interrupts)
        with display:
            demo.run(arguments.seconds, display)
        display.note("SIGTERM to both services")
        demo.stop()
        display.note("checking with librdkafka, read_committed, from the beginning")
        verdict = demo.check()
        for line in demo.bridge_notes:
            display.note(line)
        _summarise(verdict, display)
        return verdict


def main() -> int:
    """Run the demo as a program."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same records")
    parser.add_argument(
        "--records", type=_enough, default=DEFAULT_RECORDS, help="approximate number of records"
    )
    parser.add_argument(
        "--seconds", type=float, default=DEFAULT_SECONDS, help="duration of producing (s)"
    )
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        verdict = run(arguments, Display())
    except KeyboardInterrupt:
        print("interrupted; everything has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (DemoError, DeadlineExceeded, LocalKafkaError, KafkaException) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(json.dumps(verdict.figures, separators=(",", ":")), flush=True)
    return 0 if verdict.is_good else EXIT_FAILED


def _summarise(verdict: Verdict, display: Display) -> None:
    for problem in verdict.problems[:MAX_PROBLEMS_SHOWN]:
        display.note(f"WRONG: {problem}")
    hidden = len(verdict.problems) - MAX_PROBLEMS_SHOWN
    if hidden > 0:
        display.note(f"… and {hidden} more problems")
    for name, source in verdict.sources.items():
        display.note(
            f"{name}: {source.records:,} records of {source.distinct_ids:,} ids, "
            f"{source.published_once:,} ids published once"
        )
    if verdict.is_good:
        figures = verdict.figures
        display.note(
            f"{figures['distinct_ids']:,} ids, each published exactly once; "
            f"{figures['dead_letters']:,} dead letters, each expected; "
            f"{figures['duplicates']:,} duplicates dropped; nothing lost"
        )


def _unique_topics() -> Topics:
    prefix = f"demo-{uuid.uuid4().hex[:8]}"
    return Topics(prefix, f"{prefix}.input", f"{prefix}.ready", f"{prefix}.dead-letters")


def _delete(cluster: Cluster, topics: Topics) -> None:
    try:
        cluster.delete_topics(*topics.all)
        cluster.delete_group(topics.group)
    except (DeadlineExceeded, KafkaException) as error:
        print(f"topics {topics.group}.* could not be deleted: {error}", file=sys.stderr)


def _enough(text: str) -> int:
    if not text.isdecimal() or int(text) < MIN_RECORDS:
        raise argparse.ArgumentTypeError(f"must be at least {MIN_RECORDS}, not {text!r}")
    return int(text)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    """Ignore interrupts during the clean-up. Each step of the clean-up has a time limit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
