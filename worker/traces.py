"""Traces by OpenTelemetry: spans of flushes, of their requests to the API and of bodies that were accepted.

It is imported only where traces are switched on. Spans are made of what has happened, never around what
happens: they wait in a bounded queue, which a thread sends to the collector and drops when it is full.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.config.urls import hide_passwords
from worker.contract import traceparent_of
from worker.ports import EventSink

MAX_LINKS: Final = 20  # of a span: as many as a request names calls
MAX_FLUSHES: Final = 64  # whose requests wait for the flush's end; one that dies never says that it ended
CLOSE_SECONDS: Final = 3.0  # that the end of a process waits for the collector
FAILURES: Final = frozenset({"failed", "suspect"})  # feedback of a request without a usable answer
LOG_INTERVAL: Final = 60.0  # seconds between lines of a logger of the SDK about spans that it could not send
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Ended(NamedTuple):
    """A request that ended: when (ns since the epoch), and the fields of its event."""

    at: int
    fields: Mapping[str, Any]


class Seldom(logging.Filter):
    """Lets one line in a while through, a warning at most: no lost span is a reason to wake anybody."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is due."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOG_INTERVAL
        record.levelno = min(record.levelno, logging.WARNING)
        record.levelname = logging.getLevelName(record.levelno)
        return True


def _hide_header(record: logging.LogRecord) -> bool:
    """Say what is wrong without the header itself, which may be a password."""
    record.msg, record.args = "a header in OTEL_EXPORTER_OTLP_HEADERS is not NAME=VALUE, and is not sent", ()
    return True


# Of loggers of the SDK and its exporter.
FILTERS: Final[Mapping[str, Any]] = {
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": Seldom(),
    "opentelemetry.sdk._shared_internal": Seldom(),
    "opentelemetry.util.re": _hide_header,
}


class Traces:
    """Makes the spans of one process and sends them; where to, the standard's own variables say (OTEL_…)."""

    def __init__(self, service: str) -> None:
        for name in ENDPOINTS:
            hide_passwords(os.environ.get(name, ""))
        for name, filtered in FILTERS.items():
            logging.getLogger(name).addFilter(filtered)
        resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("onoffice-relations", version("onoffice-relations"))
        self._ended: dict[str, list[Ended]] = {}
        atexit.register(self.close)

    def follow(self, emit: EventSink) -> EventSink:
        """Return a sink that passes events on to `emit`, and makes spans of those that end something."""

        def note(event: str, /, **fields: object) -> None:
            emit(event, **fields)
            if event == "request.done":
                self._note_request(fields)
            elif event == "flush.done":
                self._note_flush(fields)

        return note

    def note_body(self, route: str, status: int, started: int, headers: Mapping[str, str]) -> None:
        """Make the span of a body that was accepted since `started` (ns), as a child of the caller's span."""
        span = self._tracer.start_span(
            f"POST {route}",
            _PROPAGATOR.extract(headers),
            kind=SpanKind.SERVER,
            start_time=started,
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "http.response.status_code": status,
            },
        )
        span.end()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what waits, for so long at most; what is noted later is dropped."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(seconds)

    def _note_request(self, fields: Mapping[str, Any]) -> None:
        if not fields["flush"]:  # a drift read is of none
            self._make_request_span(Ended(time.time_ns(), fields), Context())
            return
        self._ended.setdefault(str(fields["flush"]), []).append(Ended(time.time_ns(), fields))
        if len(self._ended) > MAX_FLUSHES:
            for request in self._ended.pop(next(iter(list(self._ended))), ()):
                self._make_request_span(request, Context())

    def _note_flush(self, fields: Mapping[str, Any]) -> None:
        ended = time.time_ns()
        span = self._tracer.start_span(
            "flush",
            Context(),
            kind=SpanKind.CONSUMER,
            start_time=_start_of(ended, fields),
            attributes=_attributes(fields),
            links=_links(fields["correlations"]),
        )
        for request in self._ended.pop(str(fields["flush"]), ()):
            self._make_request_span(request, trace.set_span_in_context(span, Context()))
        span.end(ended)

    def _make_request_span(self, request: Ended, parent: Context) -> None:
        fields = request.fields
        span = self._tracer.start_span(
            "request",
            parent,
            kind=SpanKind.CLIENT,
            start_time=_start_of(request.at, fields),
            attributes=_attributes(fields),
            links=_links(fields["correlations"]),
        )
        if fields["feedback"] in FAILURES:
            span.set_status(StatusCode.ERROR)
        span.end(request.at)


def _start_of(ended: int, fields: Mapping[str, Any]) -> int:
    return ended - int(fields["seconds"] * 1e9)


def _attributes(fields: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Return the words and numbers of an event; ids of calls are the callers' own texts, and left out."""
    return {
        f"relations.{name}": value for name, value in fields.items() if isinstance(value, str | int | float)
    }


def _links(correlations: Iterable[str]) -> list[Link]:
    """Return links to the callers' spans, as far as the calls named any."""
    contexts = [
        _PROPAGATOR.extract({"traceparent": correlation})
        for correlation in correlations
        if traceparent_of(correlation)
    ]
    return [Link(trace.get_current_span(context).get_span_context()) for context in contexts[:MAX_LINKS]]
