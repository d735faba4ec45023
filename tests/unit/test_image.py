"""The Dockerfile keeps its rules; `make image-test` builds and runs what it describes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from consumer import __version__

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([a-z0-9_.-]+==\S+) \\$", re.MULTILINE)
Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """Return the instructions of the Dockerfile with their arguments, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    words = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word, arguments.strip()) for word, _, arguments in words]


def arguments_of(word: str, instructions: list[Instruction]) -> list[str]:
    """Return the arguments of every instruction of one kind."""
    return [arguments for found, arguments in instructions if found == word]


def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    """Return what follows the last FROM."""
    last = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[last + 1 :]


def test_every_stage_stands_on_the_base_that_was_asked_for(
    instructions: list[Instruction],
) -> None:
    """Another base is one build argument, and no stage fetches an image besides."""
    bases = [base.split()[0] for base in arguments_of("FROM", instructions)]
    assert bases == ["${BASE}", "${BASE}"]
    assert instructions[0][0] == "ARG"
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", instructions[0][1])


def test_nothing_comes_from_an_address(instructions: list[Instruction]) -> None:
    """Whoever builds decides by the settings of pip where packages come from."""
    assert not arguments_of("ADD", instructions)
    assert not [line for word, line in instructions if word != "LABEL" and "://" in line]
    assert not [line for line in arguments_of("RUN", instructions) if "index-url" in line]


def test_what_pip_installs_has_a_hash_or_was_built_here(instructions: list[Instruction]) -> None:
    """A package that was exchanged on its way does not get into the image."""
    commands = [
        command
        for line in arguments_of("RUN", instructions)
        for command in line.split("&&")
        if re.search(r"-m pip .*\b(install|wheel)\b", command)
    ]
    assert len(commands) == 4
    for command in commands:
        assert ("--require-hashes" in command) != ("--no-index --no-deps" in command), command


def test_it_runs_as_a_number_that_is_not_root(instructions: list[Instruction]) -> None:
    """Kubernetes refuses a named user under runAsNonRoot: it cannot tell who that is."""
    user = arguments_of("USER", final_stage(instructions))[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_service_is_the_first_process(instructions: list[Instruction]) -> None:
    """A shell in between would swallow SIGTERM: both are written as lists."""
    final = final_stage(instructions)
    (entrypoint,) = arguments_of("ENTRYPOINT", final)
    (command,) = arguments_of("CMD", final)
    assert json.loads(entrypoint) == ["/opt/checkpoint-ready/bin/checkpoint-ready"]
    assert json.loads(command) == ["run"]


def test_its_labels_say_what_pyproject_says(instructions: list[Instruction]) -> None:
    """A release that forgets the version of the image is noticed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    final = final_stage(instructions)
    (label,) = arguments_of("LABEL", final)
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', label))
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "source": "${SOURCE}",
        "licenses": project["license"],
    }
    assert f"VERSION={project['version']}" in arguments_of("ARG", final)
    assert project["version"] == __version__


def test_only_what_is_copied_is_sent_to_the_build(instructions: list[Instruction]) -> None:
    """What .dockerignore lets through is what the Dockerfile copies, no more and no less."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    copied = {
        source
        for line in arguments_of("COPY", instructions)
        if not line.startswith("--from=")
        for source in line.split()[:-1]
    }
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert not [source for source in copied if not (ROOT / source).exists()]


def test_the_wheel_is_built_by_what_builds_it_in_development() -> None:
    """`make requirements` pins one setuptools for both."""
    built, developed = (
        set(PIN.findall((ROOT / "requirements" / name).read_text()))
        for name in ("build.txt", "dev.txt")
    )
    assert built
    assert built <= developed


def pinned(path: Path) -> dict[str, list[str]]:
    """Return each pin of a requirements file, `name==version`, with its hashes."""
    blocks = re.split(r"^(?=\S)", path.read_text(), flags=re.MULTILINE)
    pins = {found[1]: block for block in blocks if (found := PIN.match(block))}
    return {pin: sorted(re.findall(r"--hash=(\S+)", block)) for pin, block in pins.items()}


@pytest.mark.parametrize("name", ["aws.txt", "azure.txt", "gcp.txt"])
def test_a_cloud_extra_agrees_with_what_the_service_itself_needs(name: str) -> None:
    """The same, without the environment of development, which has no library of a cloud."""
    extra, runtime = (pinned(ROOT / "requirements" / file) for file in (name, "runtime.txt"))
    names = {pin.partition("==")[0] for pin in runtime}
    shared = {pin: hashes for pin, hashes in extra.items() if pin.partition("==")[0] in names}
    assert shared.items() <= runtime.items()
    assert extra.keys() > shared.keys()


@pytest.mark.parametrize("name", ["oauth.txt", "otel.txt", "sources.txt"])
def test_an_extra_agrees_with_what_the_service_itself_needs(name: str) -> None:
    """`pip` gets both files: what stands in both has one version and the same hashes."""
    extra, runtime, developed = (
        pinned(ROOT / "requirements" / file) for file in (name, "runtime.txt", "dev.txt")
    )
    names = {pin.partition("==")[0] for pin in runtime}
    shared = {pin: hashes for pin, hashes in extra.items() if pin.partition("==")[0] in names}
    assert shared.items() <= runtime.items()
    assert extra.keys() > shared.keys()
    assert all(developed[pin] == hashes for pin, hashes in extra.items())


@pytest.mark.parametrize("extra", ["aws", "azure", "gcp", "oauth", "otel", "sources"])
def test_an_extra_of_the_package_has_a_file_of_the_same_name(extra: str) -> None:
    """pyproject.toml and the file name the same packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / f"{extra}.in").read_text().splitlines()
    names = [line.split()[0] for line in lines if line and line[0] not in "#-"]
    assert sorted(names) == sorted(project["optional-dependencies"][extra])
