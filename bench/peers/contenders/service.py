"""Runs this service as a contender, with default settings unless the contender names others."""

from dataclasses import dataclass

from bench.peers.contenders.contender import Contender, Run
from dev.free_ports import free_ports
from tests.support.child_process import ChildProcess
from tests.support.command_line import environment
from tests.support.service_process import RUN, ServiceProcess


@dataclass(frozen=True, kw_only=True)
class Service(Contender):
    """Processes of this service. Their HTTP ports are open, because that is the default."""

    processes: int = 1

    def start(self, run: Run) -> list[ChildProcess]:
        """Start the processes. They create the internal topics."""
        settings = {**variables(run), **self.settings}
        return [
            ServiceProcess(RUN, environment({"HTTP_PORT": port, **settings}))
            for port in free_ports(self.processes)
        ]


def variables(run: Run) -> dict[str, str]:
    """Return the variables of a run, without their prefix."""
    return {
        "BOOTSTRAP_SERVERS": run.cluster.bootstrap_servers,
        "GROUP_ID": run.group,
        "INPUT_TOPICS": run.backlog.topic,
        "OUTPUT_TOPIC": run.output_topic,
        "DEAD_LETTER_TOPIC": run.dead_letter_topic,
        "CREATE_TOPICS": "true",
    }
