"""A span for each transaction, with links to the spans that sent its records.

Names and attributes follow OpenTelemetry's semantic conventions for messaging and for Kafka. The
span has the attributes that are the same for all records. The links have the other attributes.
``consumer.service.tracing.config`` loads this module only if tracing is enabled.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from consumer.config import Settings
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord
from consumer.pipeline.trace_context import TraceContext, trace_context
from consumer.shard.buffer import Gathered
from consumer.shard.events import LostTransaction, Observer, Step, TransactionReport
from consumer.shard.watermark import is_announcement

# OpenTelemetry keeps this number of links by default and discards the rest.
MAX_LINKS: Final = 128
Attributes = dict[str, str | int | bool]


class TransactionSpans(Observer):
    """Makes a span for each transaction that handled records, and calls the wrapped observer.

    It makes the spans after the end of a transaction, from times that it recorded before.
    """

    def __init__(self, observer: Observer, tracer: Tracer, settings: Settings) -> None:
        self._observer = observer
        self._tracer = tracer
        self._settings = settings
        self._decided_ns: dict[int, int] = {}  # by shard
        self._sent_ns: dict[int, int] = {}

    def on_step(self, shard: int, step: Step) -> None:
        """Record the times at which a transaction was decided and sent."""
        if step is Step.DECIDED:
            self._decided_ns[shard] = time.monotonic_ns()
        elif step is Step.SENT:
            self._sent_ns[shard] = time.monotonic_ns()
        self._observer.on_step(shard, step)

    def on_transaction(self, report: TransactionReport) -> None:
        """Make the spans. The log lines about this transaction carry the id of its trace."""
        span = self._start_span(report.shard, report.sources, report.duration_ms)
        if span is None:
            self._observer.on_transaction(report)
            return
        span.set_attributes(
            {
                "checkpoint_ready.published": report.published,
                "checkpoint_ready.duplicates": report.duplicates,
                "checkpoint_ready.forwarded": report.forwarded,
                "checkpoint_ready.dead_letters": sum(report.dead_letters.values()),
            }
        )
        if report.ready and span.is_recording():
            self._make_send_span(span, report)
        span.end()
        context = span.get_span_context()
        if not context.trace_flags.sampled:  # the trace is not exported, so do not log its id
            self._observer.on_transaction(report)
            return
        with structlog.contextvars.bound_contextvars(trace_id=f"{context.trace_id:032x}"):
            self._observer.on_transaction(report)

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Make the span of a transaction that was fenced or has an unknown outcome."""
        span = self._start_span(lost.shard, lost.sources, lost.duration_ms)
        if span is not None:
            span.set_attribute("error.type", type(lost.error).__name__)
            span.set_status(Status(StatusCode.ERROR, str(lost.error)))
            span.end()
        self._observer.on_transaction_lost(lost)

    def on_fenced(self, shard: int) -> None:
        """Call the wrapped observer."""
        self._observer.on_fenced(shard)

    def on_rebalance(self, seconds: float) -> None:
        """Call the wrapped observer."""
        self._observer.on_rebalance(seconds)

    def _start_span(
        self, shard: int, sources: Sequence[Gathered], duration_ms: float
    ) -> Span | None:
        """Return the span of a transaction that has just ended, or None if it handled no record."""
        batches = self._without_announcements(sources)
        messages = sum(len(records) for _, records in batches)
        if not messages:
            return None
        shared = _shared_attributes({source for source, _ in batches})
        attributes: Attributes = {
            **self._attributes(shard, "process"),
            "messaging.consumer.group.name": self._settings.group_id,
            "checkpoint_ready.shard": shard,
            **shared,
        }
        if messages == 1:
            attributes |= _of_message(batches[0][1][0])
        else:
            attributes["messaging.batch.message_count"] = messages
        links, is_truncated = _make_links(batches, shared)
        if is_truncated:
            attributes["checkpoint_ready.links.cut"] = True
        topic = shared.get("messaging.destination.name", "")
        return self._tracer.start_span(
            f"process {topic}".rstrip(),
            kind=SpanKind.CONSUMER,
            links=links,
            attributes=attributes,
            start_time=time.time_ns() - round(duration_ms * 1_000_000),
        )

    def _make_send_span(self, parent: Span, report: TransactionReport) -> None:
        """Make the span of the published events.

        The conventions require kind CLIENT, because an event carries the trace context of its
        source record and not the context of this span. The span has no links: its parent has them
        already, and a second copy of the links would be a third of the cost of tracing.
        """
        shard, topic = report.shard, self._settings.output_topic
        decided_ns, sent_ns = self._decided_ns.get(shard), self._sent_ns.get(shard)
        if decided_ns is None or sent_ns is None:
            return
        attributes = self._attributes(shard, "send") | {"messaging.destination.name": topic}
        if len(report.ready) > 1:
            attributes["messaging.batch.message_count"] = len(report.ready)
        began_ns = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            f"send {topic}",
            context=set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=began_ns + decided_ns,
        )
        span.end(began_ns + sent_ns)

    def _attributes(self, shard: int, operation: str) -> Attributes:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.client.id": f"{self._settings.group_id}-{shard}",
        }

    def _without_announcements(self, sources: Sequence[Gathered]) -> list[Gathered]:
        """Return the records without the announcements that shards send each other."""
        forwards = self._settings.repartition_topic
        batches: list[Gathered] = []
        for source, records in sources:
            found = records
            if source.topic == forwards:
                found = [record for record in records if not is_announcement(record.headers)]
            if found:
                batches.append((source, found))
        return batches


def _shared_attributes(sources: set[TopicPartition]) -> Attributes:
    """Return the topic and the partition, each only if it is the same for all records."""
    topics = {source.topic for source in sources}
    if len(topics) > 1:
        return {}
    shared: Attributes = {"messaging.destination.name": topics.pop()}
    if len(sources) == 1:
        shared["messaging.destination.partition.id"] = str(next(iter(sources)).partition)
    return shared


def _make_links(batches: Iterable[Gathered], shared: Attributes) -> tuple[list[Link], bool]:
    """Return links to the spans that the records name, and whether `MAX_LINKS` left some out."""
    links: list[Link] = []
    for source, records in batches:
        source_attributes: Attributes = {
            "messaging.destination.name": source.topic,
            "messaging.destination.partition.id": str(source.partition),
        }
        source_attributes = {
            name: text for name, text in source_attributes.items() if name not in shared
        }
        for record in records:
            headers = record.headers
            if not headers:
                continue
            if (context := trace_context(headers)) is not None:
                if len(links) == MAX_LINKS:  # do not parse the other headers, perhaps thousands
                    return links, True
                offset: Attributes = {"messaging.kafka.offset": record.offset}
                links.append(Link(_span_context(context), source_attributes | offset))
    return links, False


def _span_context(context: TraceContext) -> SpanContext:
    """Return the context as OpenTelemetry's type, without the tracestate: it is not exported."""
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(context.flags, 16)),
    )


def _of_message(record: SourceRecord) -> Attributes:
    """Return the attributes of a single record, without its key, which may be confidential."""
    attributes: Attributes = {"messaging.kafka.offset": record.offset}
    if record.value is None:
        attributes["messaging.kafka.message.tombstone"] = True
    return attributes
