"""The status page in a real browser: it shows the shards, and texts of producers stay text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer import __version__
from dev.browser import DARK, LIGHT, find_browser, shown_document, take_picture
from tests.support.deployment import Deployment
from tests.support.http_client import start_observed
from tests.support.records import NewRecord, checkpoint
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

HOSTILE_ID = (
    "<img src=x onerror=\"document.title='owned'\">'\"&<script>document.title='owned'</script>"
)
HOSTILE_MODEL = "ft:gpt-4o:</td></table><h1>owned</h1>"
RIGHT_TO_LEFT = "\u202egnp.exe"


@pytest.fixture
def browser() -> None:
    """Skip the test without a browser; `make test` installs one."""
    if find_browser() is None:
        pytest.skip("needs Chromium: run dev/ensure-browser")


@pytest.mark.usefixtures("browser")
def test_a_hostile_id_is_shown_as_text(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    """Neither an id nor a model name becomes an element; the page has a light and a dark style."""
    with Deployment(cluster, names) as deployment:
        seen = start_observed(deployment)
        deployment.wait_until_running(3, seen.service)
        hostile = checkpoint(HOSTILE_ID, fine_tuned_model_checkpoint=HOSTILE_MODEL)
        records = [NewRecord(hostile), NewRecord(checkpoint(RIGHT_TO_LEFT)), NewRecord(b"poison")]
        cluster.produce(deployment.input_topic, records)
        assert_exactly_once(cluster, names, [HOSTILE_ID, RIGHT_TO_LEFT])
        answer = seen.get("/")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        document = shown_document(seen.url)
        for element in ("<img", "<script", "<h1>owned", "<title>owned"):
            assert element not in document
        shown = HOSTILE_ID.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert shown in document  # as a browser writes a text that it shows
        assert HOSTILE_MODEL.replace("<", "&lt;").replace(">", "&gt;") in document
        assert f"<bdi>{RIGHT_TO_LEFT}</bdi>" in document
        assert "3 of 3" in document
        assert "malformed_json" in document
        assert f"<bdi>{__version__}</bdi>" in document
        assert names.group() in document
        light, dark = tmp_path / "light.png", tmp_path / "dark.png"
        take_picture(seen.url, light, scheme=LIGHT)
        take_picture(seen.url, dark, scheme=DARK)
        assert light.read_bytes() != dark.read_bytes()
