"""The prepared requests of the benchmark are accepted, and a missing load generator is reported."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bench.ingest import command
from bench.ingest.senders import SENDERS, Sender, write_configuration
from consumer.sources.ingest_config_file import load_config
from consumer.sources.ingest_request import IngestRequest
from consumer.sources.receivers import make_receivers
from consumer.sources.triggered_listings import TriggeredListings
from consumer.sources.validation import to_records

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("sender", SENDERS.values(), ids=SENDERS.keys())
async def test_the_requests_are_accepted(sender: Sender, tmp_path: Path) -> None:
    """Each has its number of valid checkpoints, whose ids differ between requests."""
    config = load_config(write_configuration(tmp_path, 8081))
    receivers = make_receivers(config, TriggeredListings(), time.time)
    ids: set[bytes] = set()
    for number in range(2):
        head, _, body = sender.make(number).partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        pairs = [(name.lower(), value) for name, value in (one.split(b": ") for one in lines)]
        request = IngestRequest(pairs)
        assert request.announced_bytes == len(body)
        receiver = receivers[first.split(b" ")[1].decode()]
        receiver.check_head(request)
        elements = receiver.read(request, body, sender.checkpoints).elements
        ids |= {record.key for record in await to_records(elements, (), len(body) + 1000)}
    assert len(ids) == 2 * sender.checkpoints


def test_a_missing_load_generator_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says how to install it."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert "wrk is not installed" in str(ended.value)
    assert capsys.readouterr().out == ""
