"""Recent activity of the process for the status page: rates, last ready events, dead letters."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from consumer.shard.events import Observer, TransactionReport

RATE_SECONDS: Final = 60
KEPT_EVENTS: Final = 8
# The model name is decoded only when the page is rendered, so the event's bytes are kept until
# then. An event of more bytes than this is kept without its bytes, to save memory.
MAX_KEPT_BYTES: Final = 64 * 1024


class RecentEvent(NamedTuple):
    """A published ready event."""

    id: str
    model: str
    """Empty for an event of more than `MAX_KEPT_BYTES`, whose bytes were not kept."""
    shard: int
    seconds_ago: float


class RateCounter:
    """Counts the records and events of each second in the last minute."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._by_second: deque[list[int]] = deque()  # second, consumed, published

    def add(self, now: float, consumed: int, published: int) -> None:
        """Count a transaction."""
        second = int(now)
        if not self._by_second or self._by_second[-1][0] != second:
            self._by_second.append([second, 0, 0])
            self._drop_before(now)
        self._by_second[-1][1] += consumed
        self._by_second[-1][2] += published

    def per_second(self, now: float) -> tuple[float, float]:
        """Return the records consumed and the events published per second in the last minute."""
        self._drop_before(now)
        seconds = min(RATE_SECONDS, max(1.0, now - self._began))
        consumed = sum(entry[1] for entry in self._by_second)
        published = sum(entry[2] for entry in self._by_second)
        return consumed / seconds, published / seconds

    def _drop_before(self, now: float) -> None:
        while self._by_second and self._by_second[0][0] <= now - RATE_SECONDS:
            self._by_second.popleft()


class RecentActivity(Observer):
    """Keeps the rates, the last ready events and the number of dead letters in memory."""

    def __init__(self, clock: Callable[[], float], *, binary_mode: bool) -> None:
        self._clock = clock
        self._model_of = _binary_model if binary_mode else _structured_model
        self._began = clock()
        self._rates: defaultdict[int, RateCounter] = defaultdict(lambda: RateCounter(self._began))
        self._events: deque[tuple[str, bytes, int, float]] = deque(maxlen=KEPT_EVENTS)
        self.dead_letters: Counter[str] = Counter()

    @property
    def uptime_seconds(self) -> float:
        """How long the process has been running."""
        return self._clock() - self._began

    @property
    def events(self) -> list[RecentEvent]:
        """The last ready events, newest first."""
        now = self._clock()
        return [
            RecentEvent(event_id, self._model_of(value) if value else "", shard, now - at)
            for event_id, value, shard, at in reversed(self._events)
        ]

    def rate(self, shard: int) -> tuple[float, float]:
        """Return the records consumed and the events published per second by a shard."""
        return self._rates[shard].per_second(self._clock()) if shard in self._rates else (0.0, 0.0)

    def on_transaction(self, report: TransactionReport) -> None:
        """Add the counts and the last events of a transaction."""
        now = self._clock()
        self._rates[report.shard].add(now, report.consumed, report.published)
        self.dead_letters.update(report.dead_letters)
        for event in report.ready[-KEPT_EVENTS:]:
            value = event.value if len(event.value) <= MAX_KEPT_BYTES else b""
            self._events.append((event.id, value, report.shard, now))


class _Checkpoint(msgspec.Struct):
    fine_tuned_model_checkpoint: str


class _Data(msgspec.Struct):
    checkpoint: _Checkpoint


class _Event(msgspec.Struct):
    data: _Data


_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_data: Final = msgspec.json.Decoder(_Data).decode


def _structured_model(value: bytes) -> str:
    return _decode_event(value).data.checkpoint.fine_tuned_model_checkpoint


def _binary_model(value: bytes) -> str:
    return _decode_data(value).checkpoint.fine_tuned_model_checkpoint
