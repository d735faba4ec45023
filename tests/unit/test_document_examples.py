"""The examples in the documents work: commands, JSON, Python, log events, metrics, diagrams."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from consumer.cli import main
from consumer.config import Settings
from consumer.config.variables import PREFIX, VARIABLES
from consumer.errors import ConfigError
from consumer.pipeline.check_event import check_record
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import enrich
from consumer.shard.status import TaskState
from dev.metrics_table import ALL_METRICS
from schemas.ready_event import CHECK_TYPE, ReadyEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "testkit/README.md")),
    *sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]),
]
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SHELL = {"sh", "console", "text"}
COMMAND = re.compile(r"(?:^|\|\s*|\$ |\bold |\bnew |/)checkpoint-ready ([a-z-]+[^\n|&]*)")
# The module; the package exports its function under the same name.
ENTRY_POINT = sys.modules["consumer.cli.main"]
PARSED = "this command line was parsed"
LISTED = re.compile(r"^    ([a-z-]+)\s", re.MULTILINE)
# Shell syntax after the arguments: a comment, a redirection.
SHELL_REST = re.compile(r"\s(#|>|&).*")
PLACEHOLDERS = {"…", "[...]"}
LOG_CALL = re.compile(r"log\.(?:debug|info|warning|error|exception)\(\s*\"([a-z_]+)\"")
REFERENCE = ROOT / "docs/operations/reference.md"


def _read(name: str) -> str:
    return (ROOT / name).read_text()


def _blocks(name: str, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(_read(name)) if kind == language]


def _commands() -> Iterator[tuple[str, str]]:
    """Yield every command line of this program in the documents, with its document."""
    for document in DOCUMENTS:
        for kind, text in BLOCK.findall(document.read_text()):
            if kind not in SHELL:
                continue
            for line in re.sub(r"\\\n\s*", "", text).splitlines():
                if line.startswith(("$ ", "export ")) or kind == "sh":
                    for found in COMMAND.findall(line):
                        yield str(document.relative_to(ROOT)), SHELL_REST.sub("", found).strip()


COMMANDS = sorted(set(_commands()))


def test_there_are_documented_commands() -> None:
    """Otherwise the test of each one would show nothing."""
    expected = {"run", "pipe", "tail", "replay", "backfill", "dead-letters", "topics", "config"}
    assert expected <= {line.split()[0] for _, line in COMMANDS}


@pytest.mark.parametrize(("document", "line"), COMMANDS)
def test_a_documented_command_is_accepted(
    document: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands and options in the documents exist. Nothing is run: reading the settings fails."""

    def refuse(_: object) -> Settings:
        raise ConfigError(PARSED)

    monkeypatch.setattr(ENTRY_POINT, "Settings", SimpleNamespace(load=refuse))
    monkeypatch.setattr(ENTRY_POINT, "start_command", lambda: None)
    words = [word for word in shlex.split(line) if word not in PLACEHOLDERS]
    try:
        main(words)
    except SystemExit:
        pytest.fail(f"{document}: {line}\n{capsys.readouterr().err}")
    assert PARSED in capsys.readouterr().err


def test_the_readme_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A new command needs a row in the table of commands."""
    with pytest.raises(SystemExit):
        main(["--help"])
    section = _read("README.md").split("## Commands")[1].split("## Settings")[0]
    documented = {name.split()[0] for name in re.findall(r"^\| `([a-z -]+)", section, re.MULTILINE)}
    assert documented == set(LISTED.findall(capsys.readouterr().out))


def test_pipe_answers_as_the_readme_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example without Kafka gives the documented decision."""
    (example,) = _blocks("README.md", "console")
    command, answer = example.split("\n", 1)
    (value,) = re.findall(r"echo '(.*)' \|", command)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{value}\n".encode())))
    monkeypatch.setattr(ENTRY_POINT, "start_command", lambda: None)
    assert main(["pipe"]) == 0
    assert capsys.readouterr().out.startswith(answer.split("…")[0].strip())


def test_the_documented_event_is_what_the_service_publishes() -> None:
    """The sample in docs/subscribing.md is the enriched event of its own checkpoint and origin."""
    sample = _blocks("docs/subscribing.md", "json")[0]
    event = msgspec.json.decode(sample, type=ReadyEvent)
    source = decode(msgspec.json.encode(event.data.checkpoint))
    published = enrich(source, event.data.origin, [])
    assert json.loads(published.value) == json.loads(sample)
    assert published.key == event.partitionkey.encode()


def test_the_documented_input_is_accepted() -> None:
    """The sample of a checkpoint in camelCase can be published."""
    (sample,) = (it for it in _blocks("docs/subscribing.md", "json") if '"ftckpt_2"' in it)
    assert decode(sample.strip().encode()).id == "ftckpt_2"


def test_the_documented_check_event_is_what_the_command_writes() -> None:
    """The sample is the check event of its own partition and time."""
    (sample,) = (it for it in _blocks("docs/subscribing.md", "json") if CHECK_TYPE in it)
    event = json.loads(sample)
    data = event["data"]
    seconds = int(datetime.fromisoformat(event["time"]).timestamp())
    made = check_record(
        data["check"], data["partition"], seconds, committed=False, binary_mode=False
    )
    assert json.loads(made.value) == event


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_json_lines_in_examples_are_json(document: Path) -> None:
    """Output of commands that is shown as JSON can be parsed, unless it is shortened."""
    lines = [
        line
        for _, text in BLOCK.findall(document.read_text())
        for line in text.splitlines()
        if line.startswith('{"') and "…" not in line
    ]
    for line in lines:
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_variables_exist(document: Path) -> None:
    """Each CHECKPOINT_READY_ variable in a document is one that the service reads.

    A name that ends with `*` means all variables with this prefix.
    """
    names = {variable.name for variable in VARIABLES}
    names |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.is_secret}
    used = set(re.findall(rf"{PREFIX}[A-Z_]+\*?", document.read_text()))
    groups = {name.removesuffix("*") for name in used if name.endswith("*")}
    assert {name for name in used if not name.endswith("*")} <= names
    assert all(any(name.startswith(group) for name in names) for group in groups)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_metrics_exist(document: Path) -> None:
    """Each metric in a document is one that the service or a bridge serves."""
    names = {metric.full_name for metric in ALL_METRICS}
    used = set(re.findall(r"`(checkpoint_ready_[a-z_]+)`", document.read_text()))
    assert used <= names


def test_every_log_event_is_in_the_reference() -> None:
    """An operator finds each event of the log, and no event that does not exist."""
    code = "\n".join(file.read_text() for file in (ROOT / "consumer").rglob("*.py"))
    section = REFERENCE.read_text().split("## Logs")[1].split("## Health")[0]
    cells = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert {name for name in documented if f'"{name}"' not in code} == set()
    assert set(LOG_CALL.findall(code)) - documented == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_make_targets_exist(document: Path) -> None:
    """Each `make TARGET` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):", _read("Makefile"), re.MULTILINE))
    text = document.read_text()
    shown = "\n".join(
        [*re.findall(r"`[^`\n]+`", text), *(block for _, block in BLOCK.findall(text))]
    )
    assert set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", shown, re.MULTILINE)) <= targets


def test_the_state_diagram_shows_the_legal_moves() -> None:
    """The diagram of a task's states has each move that the code allows, and no other."""
    (diagram,) = [it for it in _blocks("docs/architecture.md", "mermaid") if "stateDiagram" in it]
    drawn = {
        (TaskState(before), TaskState(after))
        for before, after in re.findall(r"(\w+) --> (\w+)", diagram)
    }
    assert drawn == {(a, b) for a in TaskState for b in TaskState if _is_legal(a, b)}


def _is_legal(before: TaskState, after: TaskState) -> bool:
    return before.allows(after)
