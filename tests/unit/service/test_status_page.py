"""The status page as a document; tests/integration/test_status_page.py loads it in a browser."""

from html.parser import HTMLParser

import pytest

from consumer.kafka.held_back import HeldBack
from consumer.service.health import is_ready
from consumer.service.recent_activity import RecentActivity
from consumer.service.status_page import MAX_CHARS, PageData, render_status
from consumer.shard.status import ShardStatus, SourceStatus
from consumer.worker.engine import EngineStatus
from tests.unit.service.test_recent_activity import Clock, ready, report

VOID = {"meta", "img", "br"}


class Elements(HTMLParser):
    """The elements, attributes and texts of a document."""

    def __init__(self, document: str) -> None:
        """Parse a document."""
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.left_open: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the start of an element."""
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.left_open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Record the end of an element, which must be the last one opened."""
        assert self.left_open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Record a text."""
        self.texts.append(data)


def elements(*shards: ShardStatus, event_id: str = "id") -> Elements:
    """Return the page of a process with these shards that has published an event."""
    view = EngineStatus(is_member=True, shards=shards)
    recent = RecentActivity(Clock(), binary_mode=False)
    recent.on_transaction(report(ready(event_id)))
    return Elements(render_status(PageData("gr<ou>p", "1.2.3", view, is_ready(view), recent)))


def test_no_id_changes_the_elements_of_the_page() -> None:
    """Markup, quotes, control characters and lone surrogates are shown as text."""
    harmless = elements(event_id="harmless")
    assert harmless.left_open == []
    assert "script" not in harmless.names
    assert not {"src", "href", "onerror"} & harmless.attributes  # nothing from elsewhere
    for hostile in ("<script>x</script>", "\"'><img src=x onerror=y>", "</td><b>&lt;", "\ud800\0"):
        page = elements(event_id=hostile)
        assert page.names == harmless.names
        assert page.attributes == harmless.attributes
        assert page.left_open == []
        assert hostile.encode("utf-8", "replace").decode() in page.texts


def test_a_long_id_is_cut() -> None:
    """An id of 32,768 characters does not make the page unreadable."""
    page = elements(event_id="x" * 32_768)
    assert f"{'x' * MAX_CHARS}…" in page.texts


def test_each_shard_shows_its_state_and_why_it_does_not_run() -> None:
    """A restore has its progress, a refusal its reason, and an unknown lag reads `unknown`."""
    page = elements(
        ShardStatus(0, "running", 1234, 1.0, has_run=True, sources=(SourceStatus("in", 0, 5678),)),
        ShardStatus(1, "restoring", 10, 0.42, sources=(SourceStatus("in", 1, None),)),
        ShardStatus(2, "refused", refusal="lost <state>"),
        ShardStatus(3, "fencing", hangs="it hangs in <ready>/0"),
    )
    assert "it hangs in <ready>/0" in page.texts
    for text in ("running", "1,234", "5,678", "restoring 42%", "refused", "lost <state>"):
        assert text in page.texts
    assert page.texts.count("unknown") == 4  # of three shards, and so of all
    assert "not ready" in page.texts
    assert "1 of 4" in page.texts
    assert "too_deep" in page.texts


@pytest.mark.parametrize(
    ("held", "shown"),
    [(HeldBack(2_000, 190.0), "2,000 for 3 min"), (HeldBack(2_000, 1.0), None), (None, None)],
)
def test_what_an_open_transaction_holds_back(held: HeldBack | None, shown: str | None) -> None:
    """The page shows it only if it lasts: each transaction holds back records for a moment."""
    source = SourceStatus("in", 0, 0, held_back=held)
    page = elements(ShardStatus(0, "running", has_run=True, sources=(source,)))
    assert [text for text in page.texts if " for " in text] == ([shown] if shown else [])
