"""The examples in the documents work: commands, JSON, Python, log events, metrics, diagrams."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consumer.cli import main
from consumer.config import Settings
from consumer.config.variables import PREFIX, VARIABLES
from consumer.errors import ConfigError
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import enrich
from consumer.service.metrics import METRICS
from consumer.shard.status import TaskState
from schemas.ready_event import ReadyEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "testkit/README.md")),
    *sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]),
]
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SHELL = {"sh", "console", "text"}
COMMAND = re.compile(r"(?:^|\|\s*|\$ |\bold |\bnew |/)checkpoint-ready ([a-z-]+[^\n|]*)")
# The module; the package exports its function under the same name.
ENTRY_POINT = sys.modules["consumer.cli.main"]
PARSED = "this command line was parsed"
LISTED = re.compile(r"^    ([a-z-]+)\s", re.MULTILINE)
# Shell syntax after the arguments: a comment, a redirection.
SHELL_REST = re.compile(r"\s(#|>).*")
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


def test_the_python_subscriber_handles_an_event(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sample is executed with a consumer that delivers the documented event once."""
    value = _blocks("docs/subscribing.md", "json")[0].encode()
    committed = []

    class OneEvent:
        def __init__(self, settings: dict[str, Any]) -> None:
            assert settings["isolation.level"] == "read_committed"
            self._messages = [None, SimpleNamespace(error=lambda: None, value=lambda: value)]

        def subscribe(self, topics: list[str]) -> None:
            assert topics == [Settings.load({}).output_topic]

        def poll(self, _timeout: float) -> object:
            if not self._messages:
                raise KeyboardInterrupt
            return self._messages.pop(0)

        def commit(self, message: object) -> None:
            committed.append(message)

    module = ModuleType("confluent_kafka")
    module.Consumer = OneEvent  # type: ignore[attr-defined] # replaces the real class
    monkeypatch.setitem(sys.modules, "confluent_kafka", module)
    (sample,) = _blocks("docs/subscribing.md", "python")
    with pytest.raises(KeyboardInterrupt):
        exec(compile(sample, "docs/subscribing.md", "exec"), {})  # noqa: S102 - our own document
    assert capsys.readouterr().out.startswith("ftckpt_1 ft:gpt-4o-mini-2024-07-18")
    assert len(committed) == 1


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
    """Each CHECKPOINT_READY_ variable in a document is one that the service reads."""
    names = {variable.name for variable in VARIABLES}
    names |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.is_secret}
    used = set(re.findall(rf"{PREFIX}[A-Z_]+", document.read_text()))
    assert used <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_metrics_exist(document: Path) -> None:
    """Each metric in a document is one that the service serves."""
    names = {metric.full_name for metric in METRICS}
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
