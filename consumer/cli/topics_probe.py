"""The action `topics check --probe`: shows what a cluster can do, as a table or as JSON."""

import asyncio
import sys
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from consumer.cli.output import EXIT_OK, silence_logs, write_line, write_message
from consumer.cli.signals import run_async
from consumer.cli.tables import add_row, folded_table
from consumer.config import Settings
from consumer.errors import Unreachable
from consumer.kafka.client import AioKafka
from consumer.kafka.probe import TOTAL_SECONDS, ClusterProbe
from consumer.kafka.probe_findings import CLEAN_UP, ProbeResult, Status

EXIT_CANNOT_RUN: Final = 1


def show_probe(settings: Settings, *, as_json: bool) -> int:
    """Run the probe and write its findings; return 1 if the service cannot run on this cluster.

    Raises:
        ClusterError: the brokers refuse the login, or do not let the probe create topics.
        TaskFailed, TransientError: the brokers do not answer.
    """
    silence_logs(settings)
    result = run_async(_run(settings))
    if sys.stdout.isatty() and not as_json:
        Console().print(_table(result))
    else:
        write_line(msgspec.json.encode(result))
    for finding in result.findings:
        if finding.status is Status.MISSING:
            write_message(f"{finding.name}: {finding.detail}: {finding.meaning}")
        elif finding.status is Status.UNKNOWN:
            write_message(f"{finding.name}: {finding.detail}")
        elif finding.name == CLEAN_UP.name:
            write_message(f"{finding.detail}: {finding.meaning}")
    if not result.can_run:
        write_message(_verdict(result))
    return EXIT_OK if result.can_run else EXIT_CANNOT_RUN


async def _run(settings: Settings) -> ProbeResult:
    kafka = AioKafka.of(settings)
    admin = kafka.admin(f"{settings.group_id}-probe")
    probe = ClusterProbe(kafka, admin, settings)
    try:
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                await admin.start()
        except TimeoutError:
            raise Unreachable(
                f"no broker at {settings.bootstrap_servers} answered within {TOTAL_SECONDS:g} s"
            ) from None
        return await probe.run()
    except BaseException:  # also a signal: without a result the findings are not shown
        if probe.topics.left_behind:
            write_message(f"{probe.topics.left_behind}: {CLEAN_UP.meaning}")
        raise
    finally:
        await admin.close()


def _table(result: ProbeResult) -> Table:
    table = folded_table("What", "Result", "Found", "Meaning")
    for finding in result.findings:
        add_row(table, (finding.name, finding.status, finding.detail, finding.meaning))
    table.title = f"{_verdict(result).capitalize()} ({result.brokers} brokers)"
    return table


def _verdict(result: ProbeResult) -> str:
    if result.can_run:
        return "the service can run on this cluster"
    if any(finding.status is Status.MISSING for finding in result.findings):
        return "the service cannot run on this cluster"
    return "it is not known whether the service can run on this cluster"
