"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dev.config_table import config_table

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", *map(str, ROOT.glob("docs/*.md")))
ANCHOR = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def test_the_table_of_settings_is_the_one_in_force() -> None:
    """Whoever changes a setting runs `python -m dev.config_table README.md`."""
    readme = (ROOT / "README.md").read_text()
    assert config_table().within(readme) == readme


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_to_files_lead_somewhere(name: str) -> None:
    """A moved file is noticed where it is linked."""
    document = ROOT / name
    missing = [
        link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_to_headings_lead_somewhere(name: str) -> None:
    """A renamed section is noticed where it is linked."""
    document = ROOT / name
    missing = []
    for path, anchor in ANCHOR.findall(document.read_text()):
        page = document.parent / path if path else document
        if page.suffix == ".md" and anchor not in _anchors(page):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", it).strip().lower().replace(" ", "-") for it in headings}
