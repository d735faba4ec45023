"""One run: brokers, services, workload, checker and nemesis; then repair, and the verdict."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, NamedTuple

import confluent_kafka
from confluent_kafka import KafkaException

from consumer import __version__
from dev.kafka_jars import kafka_version
from tests.chaos.battlefield import INPUT_PARTITIONS, SHARDS, battlefield
from tests.chaos.checker import Checker
from tests.chaos.fleet import SETTINGS
from tests.chaos.nemesis import Nemesis
from tests.chaos.run_history import History
from tests.chaos.sasl import LoginOrder
from tests.chaos.sessions import ended_sessions, judge_logins
from tests.chaos.workload import Workload
from tests.support.kafka_tools import ToolFailedError
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.battlefield import Battlefield
    from tests.chaos.fleet import Published
    from tests.chaos.run_history import Outcome

FIRST_SECONDS = 120.0
REST_SECONDS = 300.0
TRANSACTIONS_SECONDS = 120.0
USUAL_SERVICES = 2
COUNT_SECONDS = 1.0


class Order(NamedTuple):
    """The parameters of a run."""

    minutes: float
    seed: int
    records_per_second: float
    history: Path
    folder: Path
    login: LoginOrder = LoginOrder()


class Result(NamedTuple):
    """The result of a run."""

    order: Order
    violations: list[str]
    facts: dict[str, int]
    outcomes: list[Outcome]
    published: list[Published]
    unexpected_exits: list[str]
    fault_seconds: float


def run(order: Order, say: Callable[[str], None]) -> Result:
    """Carry out a run.

    1. Start the brokers, the proxy and two services; wait until every shard runs.
    2. Let the workload write and the checker read.
    3. Cause faults for this many minutes.
    4. Repair everything, and stop the workload.
    5. Wait until all is handled, and check: the checker, the shards, the transactions.
    """
    with (
        History(order.history, **_head(order)) as history,
        battlefield(order.folder, history, order.login) as field,
    ):
        say(f"brokers run at {field.cluster.bootstrap_servers}")
        field.fleet.scale(USUAL_SERVICES)  # 1.
        _wait_until_all_run(field, FIRST_SECONDS)
        settings = field.cluster.settings
        checker = Checker(settings, field.topics)  # 2.
        workload = Workload(
            settings,
            field.topics.input,
            order.seed,
            records_per_second=order.records_per_second,
        )
        checker.start()
        workload.start()
        began = time.monotonic()
        with Nemesis(field, order.seed) as nemesis:  # 3.
            _count(field, workload, order.minutes * 60, say)
            say("healing")  # 4.
            nemesis.stop()
        fault_seconds = time.monotonic() - began
        field.brokers.bring_all_back()
        field.fleet.scale(USUAL_SERVICES)
        workload.stop()
        history.write("healed", produced=workload.produced)
        violations = _judge_rest(field)  # 5.
        say("judging")
        verdict = checker.finish(REST_SECONDS)
        violations += verdict.violations + _judge_transactions(field)
        # The workload's client may write a record again when a killed broker did not answer: one
        # more duplicate in the input. What was acknowledged must all be there.
        if verdict.facts["produced"] < workload.produced:
            violations.append(
                f"{workload.produced} records were acknowledged, {verdict.facts['produced']} read"
            )
        field.fleet.scale(0)
        violations += field.fleet.violations
        logins = judge_logins(
            history.outcomes, field.fleet.login_failures, ended_sessions(field.brokers.logs())
        )
        violations += logins.violations
        facts = verdict.facts | _login_facts(field) | logins.facts
        history.write("verdict", violations=violations, facts=facts)
        return Result(
            order=order,
            violations=violations,
            facts=facts,
            outcomes=history.outcomes,
            published=field.fleet.published,
            unexpected_exits=field.fleet.unexpected_exits,
            fault_seconds=fault_seconds,
        )


def _head(order: Order) -> dict[str, object]:
    return {
        "seed": order.seed,
        "minutes": order.minutes,
        "records_per_second": order.records_per_second,
        "versions": {
            "checkpoint-ready": __version__,
            "kafka": kafka_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "python": platform.python_version(),
        },
        "input_partitions": INPUT_PARTITIONS,
        "shards": SHARDS,
        "settings": SETTINGS,
        "login": order.login._asdict(),
    }


def _login_facts(field: Battlefield) -> dict[str, int]:
    facts = {"logins_renewed_on_open_connections": field.proxy.renewed_logins}
    if field.tokens is not None:
        facts["tokens_given"] = len(field.tokens.tokens)
    return facts


def _count(
    field: Battlefield, workload: Workload, seconds: float, say: Callable[[str], None]
) -> None:
    """Wait, and write the progress of the run once a second."""
    began = reported_at = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        done = len(field.history.outcomes)
        field.history.write("count", produced=workload.produced, faults=done)
        if now - reported_at >= 30:
            reported_at = now
            say(f"{now - began:.0f} s: {workload.produced:,} records, {done} faults")
        time.sleep(COUNT_SECONDS)  # the rate of the counter; it waits for no condition


def _wait_until_all_run(field: Battlefield, seconds: float) -> None:
    def all_run() -> bool:
        held = [shard for shards in field.fleet.running_shards().values() for shard in shards]
        return sorted(held) == list(range(field.topics.shards))

    try:
        wait_until(all_run, seconds, what="every shard running at exactly one place")
    except AssertionError as error:
        raise AssertionError(f"{error}: {field.fleet.running_shards()}") from None


def _judge_rest(field: Battlefield) -> list[str]:
    """Return a violation unless every shard runs on exactly one process."""
    try:
        _wait_until_all_run(field, REST_SECONDS)
    except AssertionError as error:
        return [f"not every shard runs: {error}"]
    return []


def _judge_transactions(field: Battlefield) -> list[str]:
    """Return the transactions that Kafka's tool finds open; a failed tool is a violation too."""
    tools, topics = field.tools, field.topics
    written = (topics.ready, topics.dead_letters, topics.changelog, topics.repartition)
    try:
        try:
            wait_until(
                lambda: not tools.open_transactions(topics.group),
                TRANSACTIONS_SECONDS,
                what="the end of all transactions",
            )
        except AssertionError as error:
            return [f"{error}: {tools.open_transactions(topics.group)}"]
        return [f"hanging transaction: {row}" for row in tools.hanging_transactions(written)]
    except (ToolFailedError, KafkaException) as error:
        return [f"the transactions could not be judged: {error}"]
