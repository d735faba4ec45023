"""The action `topics check --probe`: shows what a cluster can do, as a table or as JSON."""

import sys
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from consumer.cli.output import EXIT_OK, silence_logs, write_line, write_message
from consumer.cli.signals import run_async
from consumer.cli.tables import add_row, folded_table
from consumer.config import Settings
from consumer.kafka.client import AioKafka
from consumer.kafka.probe import ClusterProbe
from consumer.kafka.probe_findings import ProbeResult, Status

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
    if not result.can_run:
        write_message("the service cannot run on this cluster")
    return EXIT_OK if result.can_run else EXIT_CANNOT_RUN


async def _run(settings: Settings) -> ProbeResult:
    kafka = AioKafka.of(settings)
    admin = kafka.admin(f"{settings.group_id}-probe")
    try:
        await admin.start()
        return await ClusterProbe(kafka, admin, settings).run()
    finally:
        await admin.close()


def _table(result: ProbeResult) -> Table:
    table = folded_table("What", "Result", "Found", "Meaning")
    for finding in result.findings:
        add_row(table, (finding.name, finding.status, finding.detail, finding.meaning))
    verdict = "can" if result.can_run else "cannot"
    table.title = f"The service {verdict} run on this cluster ({result.brokers} brokers)"
    return table
