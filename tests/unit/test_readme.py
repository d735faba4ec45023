"""The documents agree with the code: tables, links, anchors and paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.config import VARIABLES
from dev.config_table import GROUPS, config_table

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(page.relative_to(ROOT))
    for page in (
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *ROOT.glob("docs/**/*.md"),
        *(it for it in ROOT.glob("examples/**/*.md") if "node_modules" not in it.parts),
        ROOT / "testkit/README.md",
    )
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE_BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
# A path in a document: a file or directory of the repository, in backticks.
PATH = re.compile(
    r"`((?:consumer|schemas|tests|dev|bench|helm|docs|requirements|testkit|examples)/[\w./-]*)`"
)
# In CONTRIBUTING.md, what the reader is going to create.
PLACEHOLDER = "NAME"
# Old releases are described as they were.
HISTORY = "CHANGELOG.md"
# A reference from code to a document, with an anchor if it has one.
REFERENCE = re.compile(r"(?:README|CONTRIBUTING|docs/[\w/-]+)\.md(?:#[\w-]+)?")
CODE = (
    *("consumer", "schemas", "dev", "helm", "tests", "bench", "testkit", "examples"),
    *("pyproject.toml", "Makefile"),
)
TEXT_SUFFIXES = {".py", ".yaml", ".yml", ".json", ".toml", ".md", ".tpl", ".txt", ""}
# The chart of an earlier release, which refers to the documents of that release.
RENDERINGS = ROOT / "tests/chart/renderings"


def test_the_table_of_settings_is_the_one_in_force() -> None:
    """`python -m dev.config_table README.md` writes it after a change."""
    readme = (ROOT / "README.md").read_text()
    assert config_table().within(readme) == readme


def test_every_setting_is_in_one_group_of_the_table() -> None:
    """A setting without a group would be missing in the README."""
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(variable.short_name for variable in VARIABLES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    """A moved file or a renamed heading is noticed in every document that links to it."""
    document = ROOT / name
    broken = []
    for path, anchor in LINK.findall(_prose(document)):
        page = (document.parent / path) if path else document
        if not page.exists() or (anchor and page.suffix == ".md" and anchor not in _anchors(page)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != HISTORY])
def test_every_path_in_a_document_exists(name: str) -> None:
    """A file that was moved or deleted is noticed in every document that names it."""
    paths = set(PATH.findall((ROOT / name).read_text()))
    missing = [it for it in paths if PLACEHOLDER not in it and not (ROOT / it).exists()]
    assert missing == []


def test_every_path_in_non_obvious_exists() -> None:
    """Its tables name files below `consumer/` and `tests/` without these prefixes."""
    text = (ROOT / "docs/non-obvious.md").read_text()
    product = re.findall(r"`((?:kafka|shard|worker|pipeline|service|jobs|cli)/[\w/]*\.py)`", text)
    tests = re.findall(r"`((?:unit|integration|property|fuzz)/[\w/]*\.py)`", text)
    assert product
    assert tests
    paths = [f"consumer/{it}" for it in product] + [f"tests/{it}" for it in tests]
    assert [it for it in paths if not (ROOT / it).exists()] == []


def test_every_long_document_has_its_contents_at_the_top() -> None:
    """A page with five sections or more lists them all."""
    lacking = []
    for name in DOCUMENTS:
        sections = re.findall(r"^## (.+)$", _prose(ROOT / name), re.MULTILINE)
        if len(sections) < 5 or name == HISTORY or "decisions" in name:
            continue
        linked = {anchor for path, anchor in LINK.findall((ROOT / name).read_text()) if not path}
        missing = {_anchor(it) for it in sections if it != "Contents"} - linked
        if name == "docs/operations/runbook.md":
            missing.discard("alerts")  # its contents list each alert instead
        if sections[0] != "Contents" or missing:
            lacking.append((name, missing))
    assert lacking == []


def test_every_document_that_code_refers_to_exists() -> None:
    """An error message, an alert or a comment must not name a document that has moved."""
    broken = []
    for file in _code_files():
        for reference in REFERENCE.findall(file.read_text(errors="replace")):
            path, _, anchor = reference.partition("#")
            page = ROOT / path
            if not page.exists() or (anchor and anchor not in _anchors(page)):
                broken.append(f"{file.relative_to(ROOT)}: {reference}")
    assert broken == []


def _code_files() -> list[Path]:
    roots = [ROOT / name for name in CODE if (ROOT / name).exists()]
    files = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*"))]
    return [
        file
        for file in files
        if file.is_file()
        and file.suffix in TEXT_SUFFIXES
        and "__pycache__" not in file.parts
        and not file.is_relative_to(RENDERINGS)
    ]


def _prose(document: Path) -> str:
    return CODE_BLOCK.sub("", document.read_text())


def _anchors(page: Path) -> set[str]:
    return {_anchor(it) for it in re.findall(r"^#+ (.+)$", _prose(page), flags=re.MULTILINE)}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
