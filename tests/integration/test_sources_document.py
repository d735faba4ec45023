"""The commands of docs/sources.md are run as written, in their order."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING

from consumer.sources.ingest_config import Limits, load_config
from consumer.sources.poll.accounts import load_accounts
from dev.free_ports import free_ports
from tests.support.child_process import ROOT, ChildProcess
from tests.support.deployment import Deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

DOCUMENT = ROOT / "docs/sources.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PORT = "8081"


def blocks(language: str, section: str = "HTTP and webhooks") -> list[str]:
    """Return the examples in a language of one section."""
    text = next(it for it in DOCUMENT.read_text().split("\n## ") if it.startswith(f"{section}\n"))
    return [block for kind, block in BLOCK.findall(text) if kind == language]


def test_the_commands_for_http_work(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """The checkpoint of the document is in the input topic, and the event is accepted."""
    shim = tmp_path / "bin" / "checkpoint-ready"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m consumer "$@"\n')
    shim.chmod(0o755)
    script = "set -eu\ntrap 'kill $!; wait $!' EXIT\n" + "".join(blocks("sh"))
    with Deployment(cluster, names) as deployment:
        variables = deployment.environment
        variables["PATH"] = f"{shim.parent}:{variables['PATH']}"
        variables["PYTHONPATH"] = str(ROOT)
        script = script.replace(PORT, str(free_ports(1)[0]))
        shell = ChildProcess(["/bin/bash", "-c", script], variables, folder=tmp_path)
        code = shell.wait(60)
        text = shell.tail()
        shell.close()
        assert code == 0, text
        assert '{"accepted":1}' in text
        assert '{"accepted":0,"event":"job_ended"}' in text
        (record,) = cluster.read(deployment.input_topic)
        assert record.key == b"ftckpt_http"
        secrets = (tmp_path / "token").read_text().split()
        assert len(secrets) == 2
        assert not any(secret in text for secret in secrets)


def test_the_tables_of_the_document_are_valid(tmp_path: Path) -> None:
    """The mapping and the limits are configurations, and the limits are the defaults."""
    mapping, limits = blocks("toml")
    path = tmp_path / "ingest.toml"
    path.write_text(mapping + limits)
    assert load_config(path).limits == Limits()
    assert tomllib.loads(limits)["limits"].keys() == set(Limits.__struct_fields__)


def test_the_accounts_of_the_document_are_valid(tmp_path: Path) -> None:
    """The example of `poll` is a configuration."""
    (example,) = blocks("toml", "Poll providers")
    path = tmp_path / "accounts.toml"
    path.write_text(example)
    names = [account.name for account in load_accounts(path)]
    assert names == ["openai", "azure", "foundry-entra", "gateway", "together"]
