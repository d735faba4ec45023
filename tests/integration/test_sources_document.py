"""The commands of docs/sources.md are run as written, in their order."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from typing import TYPE_CHECKING

from consumer.cli.ingest_trigger import triggered_accounts
from consumer.sources.ingest_config import Limits
from consumer.sources.ingest_config_file import load_config
from consumer.sources.poll.accounts import load_accounts
from dev.free_ports import free_ports
from tests.support.child_process import ROOT, ChildProcess
from tests.support.deployment import Deployment
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

DOCUMENT = ROOT / "docs/sources.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PORTS = ("8081", "8082")
START_KAFKA = "make venv kafka\n"
WALK_THROUGH = "From a training to a ready event"


def blocks(language: str, section: str = "HTTP and webhooks") -> list[str]:
    """Return the examples in a language of one section."""
    text = next(it for it in DOCUMENT.read_text().split("\n## ") if it.startswith(f"{section}\n"))
    return [block for kind, block in BLOCK.findall(text) if kind == language]


def add_command(folder: Path) -> Path:
    """Add the command `checkpoint-ready` of this program to a folder; return the folder."""
    shim = folder / "checkpoint-ready"
    folder.mkdir(parents=True)
    shim.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec {sys.executable} -m consumer "$@"\n')
    shim.chmod(0o755)
    return folder


def run_script(script: str, variables: dict[str, str], folder: Path) -> str:
    """Run commands by the shell, with free ports instead of the documented ones."""
    for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        script = script.replace(port, str(free))
    script = f"set -eu\ntrap 'kill $(jobs -p) || true; wait' EXIT\n{script}"
    shell = ChildProcess(["/bin/bash", "-c", script], variables, folder=folder)
    try:
        code = shell.wait(60)
        text = shell.tail()
    finally:
        shell.close()
    assert code == 0, text
    return text


def test_the_walk_through_works(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """Its commands, but the one that starts Kafka, bring three checkpoints to ready events."""
    clone, temporary = tmp_path / "clone", tmp_path / "temporary"
    temporary.mkdir()
    add_command(clone / ".venv" / "bin")
    (clone / "examples").symlink_to(ROOT / "examples")
    start_kafka, *commands = blocks("sh", WALK_THROUGH)
    assert start_kafka == START_KAFKA
    with Deployment(cluster, names, create_topics=False) as deployment:
        variables = {**deployment.environment, "TMPDIR": str(temporary)}
        text = run_script("".join(commands), variables, clone)
        events = [json.loads(line) for line in text.splitlines() if line.startswith('{"spec')]
        assert sorted(event["data"]["checkpoint"]["step_number"] for event in events) == [1, 2, 3]
        assert_exactly_once(cluster, names, [event["id"] for event in events])
        assert {path.name for path in clone.iterdir()} == {".venv", "examples"}


def test_the_commands_for_http_work(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """The checkpoint of the document is in the input topic, and the event is accepted."""
    programs = add_command(tmp_path / "bin")
    with Deployment(cluster, names) as deployment:
        variables = deployment.environment
        variables["PATH"] = f"{programs}:{variables['PATH']}"
        text = run_script("".join(blocks("sh")), variables, tmp_path)
        assert '{"accepted":1}' in text
        assert '{"accepted":0,"event":"job_ended"}' in text
        (record,) = cluster.read(deployment.input_topic)
        assert record.key == b"ftckpt_http"
        secrets = (tmp_path / "token").read_text().split()
        assert len(secrets) == 2
        assert not any(secret in text for secret in secrets)


def test_the_tables_of_the_document_are_valid(tmp_path: Path) -> None:
    """The mapping and the limits are configurations, and the limits are the defaults."""
    mapping, trigger, limits = blocks("toml")
    path = tmp_path / "ingest.toml"
    path.write_text(mapping + limits)
    assert load_config(path).limits == Limits()
    assert tomllib.loads(limits)["limits"].keys() == set(Limits.__struct_fields__)
    path.write_text(trigger)
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(blocks("toml", "Poll providers")[0])
    assert [account.name for account in triggered_accounts(load_config(path), accounts)] == [
        "openai"
    ]


def test_the_accounts_of_the_document_are_valid(tmp_path: Path) -> None:
    """The example of `poll` is a configuration."""
    (example,) = blocks("toml", "Poll providers")
    path = tmp_path / "accounts.toml"
    path.write_text(example)
    names = [account.name for account in load_accounts(path)]
    assert names == [
        "openai",
        "azure",
        "foundry-entra",
        "gateway",
        "together",
        "tinker",
        "fireworks",
    ]
