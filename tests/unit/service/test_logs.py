"""The log lines of a transaction, and the limit on the log lines of a library."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from consumer.config import PREFIX, Settings
from consumer.service.logs import (
    MAX_LIBRARY_KINDS,
    LogObserver,
    _LibraryHandler,
    _mask_of,
    configure_logs,
)
from consumer.shard.events import TransactionReport

Printed = Callable[[], list[dict[str, object]]]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Printed]:
    """Configure the logs as the service does; yield a function that returns the lines so far."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    output = io.BytesIO()
    stdout = io.TextIOWrapper(output)
    monkeypatch.setattr("sys.stdout", stdout)
    configure_logs(Settings.load({"CHECKPOINT_READY_LOG_FORMAT": "json"}))
    # A logger keeps what it was first configured with: each test needs one of its own.
    monkeypatch.setattr("consumer.service.logs.log", structlog.get_logger("test"))
    yield lambda: [json.loads(line) for line in output.getvalue().splitlines()]
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def report(*, events: int, suppressed: int, **dead_letters: int) -> TransactionReport:
    """Return the report of a transaction of shard 2."""
    return TransactionReport(
        shard=2,
        consumed=100,
        published=events + suppressed,
        duplicates=1,
        conflicting=0,
        dead_letters=dead_letters,
        forwarded=3,
        expired=0,
        next_offsets={"in/2": 100},
        duration_ms=12.3456,
        events=[{"id": f"id-{number}", "job_id": "ftjob-1"} for number in range(events)],
        dead_letter_fields=[],
        suppressed_events=suppressed,
        consumed_by_topic={"in": 100},
        ready=[],
    )


def test_one_line_per_transaction_and_a_bounded_number_of_events(printed: Printed) -> None:
    """A large transaction does not flood the log: suppressed lines are counted."""
    LogObserver().on_transaction(report(events=2, suppressed=38))
    *events, transaction = printed()
    assert [line["event"] for line in events] == ["checkpoint_ready"] * 2
    assert [line["id"] for line in events] == ["id-0", "id-1"]
    assert transaction["event"] == "transaction_committed"
    assert transaction["published"] == 40
    assert transaction["suppressed_events"] == 38
    assert transaction["next_offsets"] == {"in/2": 100}
    assert transaction["duration_ms"] == 12.346
    assert transaction["shard"] == 2


def test_an_internal_error_is_logged_as_an_error(printed: Printed) -> None:
    """A record that the service failed to handle causes an error line and a dead letter."""
    LogObserver().on_transaction(report(events=0, suppressed=0, internal_error=3))
    found = printed()
    assert [(line["event"], line["level"]) for line in found] == [
        ("transaction_committed", "info"),
        ("internal_errors", "error"),
    ]


def test_repeated_messages_of_a_library_are_suppressed(printed: Printed) -> None:
    """In an outage every client repeats its message; a different message is still logged."""
    library = logging.getLogger("aiokafka.test")
    for node in range(100):
        library.error("cannot reach node %s", node)
    library.warning("something else")
    library.info("below the level")
    found = printed()
    assert [line["message"] for line in found] == ["cannot reach node 0", "something else"]
    assert {line["level"] for line in found} == {"warning"}


def test_a_wall_clock_that_is_set_back_suppresses_nothing(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeats are suppressed for ten elapsed seconds, whatever the wall clock shows."""
    library = logging.getLogger("aiokafka.test")
    moments = iter((100.0, 105.0, 111.0))
    monkeypatch.setattr("consumer.service.logs.time.monotonic", lambda: next(moments))
    for _ in range(3):
        library.error("cannot reach node %s", 1)
        monkeypatch.setattr("logging.time.time", lambda: 0.0)
    assert [line.get("suppressed") for line in printed()] == [None, 1]


def test_texts_cannot_command_a_terminal(monkeypatch: pytest.MonkeyPatch, printed: Printed) -> None:
    """Control characters of ids, messages and exceptions are escaped, in both formats."""
    assert printed() == []
    for log_format in ("console", "json"):
        output = io.BytesIO()
        stdout = io.TextIOWrapper(output)
        monkeypatch.setattr(stdout, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdout", stdout)
        configure_logs(Settings.load({"CHECKPOINT_READY_LOG_FORMAT": log_format}))
        log = structlog.get_logger(log_format)
        error = ValueError("\x1b]52;c;aGk=\x07")
        facts = {"id": "one\x1b[2J", "error": "\x9b2J\u202e", "more": ["\x1b[2J"]}
        log.error("checkpoint_ready", exc_info=error, **facts)
        stdout.flush()
        shown = output.getvalue().decode()
        assert not any(one in shown for one in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"))
        assert "[2J" in shown


def test_messages_of_libraries_take_bounded_memory(printed: Printed) -> None:
    """Some libraries format a message before they log it, so each line is a kind of its own."""
    library = logging.getLogger("aiokafka.test")
    for node in range(3 * MAX_LIBRARY_KINDS):
        library.error(f"cannot reach node {node}")
    handlers = logging.getLogger().handlers
    (handler,) = (one for one in handlers if isinstance(one, _LibraryHandler))
    assert len(handler._last) <= MAX_LIBRARY_KINDS  # noqa: SLF001 - memory is what it is about
    assert len(printed()) == 3 * MAX_LIBRARY_KINDS


def test_a_terminal_gets_text(monkeypatch: pytest.MonkeyPatch, printed: Printed) -> None:
    """Without LOG_FORMAT a terminal gets console text, and any other output gets JSON."""
    assert printed() == []
    stdout = io.StringIO()
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", stdout)
    configure_logs(Settings.load({}))
    structlog.get_logger("another").info("starting", group_id="g")
    assert "starting" in stdout.getvalue()
    assert "{" not in stdout.getvalue()


@pytest.mark.parametrize("provider", ["azure", "my_package.tokens:Tokens"])
def test_lines_of_a_provider_of_tokens_are_masked(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """The library of a cloud and a class of the user may log each of their options."""
    monkeypatch.setenv("OWN_OPTION", "open sesame")
    login = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_PROVIDER": provider,
        **({"SASL_OAUTHBEARER_SCOPE": "kafka"} if provider == "azure" else {}),
    }
    settings = Settings.load({PREFIX + name: value for name, value in login.items()})
    logging.getLogger().handlers = [_LibraryHandler(lambda: None, _mask_of(settings))]
    error = ValueError("refused: open sesame")
    sent = ("open sesame", "hunter")
    logging.getLogger("cloud").error("sent %s, client_secret=%s", *sent, exc_info=error)
    (line,) = printed()
    assert line["message"] == "sent ********, client_secret=********"
    assert line["error"] == "ValueError('refused: ********')"
