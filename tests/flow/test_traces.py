"""Traces of flushes and their requests, as a real collector gets them."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra telemetry is not installed")

from tests.support.flow_world import World
from tests.support.references import FIELDS, email, seed, wish
from tests.support.store_steps import queries_of
from tests.support.trace_collector import Collector, collect
from tests.support.waiting import wait_until
from worker.config import Settings
from worker.contract import from_message
from worker.ports.drift import DriftFilter
from worker.testing import MemoryStore
from worker.traces import MAX_FLUSHES, MAX_LINKS, Traces
from worker.usecases.drift import DriftReader
from worker.usecases.flush import flush
from worker.wiring import open_traces

PERSON = 987_654_321
REFUSING = "http://127.0.0.1:1"


def traceparent(number: int, *, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


def link(number: int) -> tuple[str, str]:
    return f"{number:032x}", f"{number:016x}"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collect() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def request_done(flush_id: str, **other: Any) -> dict[str, Any]:
    known = {"account": "acme", "flush": flush_id, "request": "r", "feedback": "ok", "status": 200}
    return {**known, "seconds": 0.25, "actions": 1, "relations": 2, "correlations": [], **other}


def flush_done(flush_id: str, **other: Any) -> dict[str, Any]:
    known = {"account": "acme", "flush": flush_id, "state": "done", "again": None, "seconds": 1.5}
    return {**known, "correlations": [], "jobs": 1, **other}


def drop(_event: str, /, **_fields: object) -> None:
    """Emit nothing."""


def test_a_flush_and_its_requests_are_linked_to_the_spans_of_those_who_asked(collector: Collector) -> None:
    world, traces = World(MemoryStore), Traces("here")
    for parent, correlation in ((501, traceparent(7)), (502, traceparent(8)), (503, "order-4711")):
        message = {
            "account": "acme",
            "action": "create",
            "relationtype": "estate:address:buyer",
            "parentid": parent,
            "childid": PERSON,
        }
        world.accept(msgspec.structs.replace(from_message(message).change, correlation=correlation))
    world.clock.advance(2)
    flush(world.policy_of("acme"), world.flush_deps("acme", emit=traces.follow(world.emit)))
    traces.close()

    (flushed,), requests = collector.named("flush"), collector.named("request")
    assert (flushed.service, flushed.parent, flushed.is_error) == ("here", "", False)
    assert flushed.links == [link(7), link(8)]
    assert flushed.attributes["relations.account"] == "acme"
    assert flushed.attributes["relations.jobs"] == 3
    assert {span.parent for span in requests} == {flushed.id}
    assert {span.trace for span in requests} == {flushed.trace}
    assert {each for span in requests for each in span.links} == {link(7), link(8)}
    assert sum(int(span.attributes["relations.relations"]) for span in requests) == 3
    assert {span.attributes["relations.feedback"] for span in requests} == {"ok"}
    assert [event for event, _ in world.events if event == "flush.done"] == ["flush.done"]
    sent = b"".join(collector.bodies)
    assert b"order-4711" not in sent
    assert str(PERSON).encode() not in sent


def test_reads_have_spans_too_of_their_flush_or_of_none(collector: Collector) -> None:
    world, traces = World(MemoryStore), Traces("here")
    seed(world, FIELDS)
    emit = traces.follow(world.emit)
    world.accept(wish(email("anna@example.test"), correlation=traceparent(7)))
    flush(world.policy_of("acme"), world.flush_deps("acme", emit=emit))
    deps = world.flush_deps("acme", emit=emit)
    DriftReader(world.policy_of("acme"), deps, queries_of(world.store), lambda *_: None).read(DriftFilter())
    traces.close()

    (flushed,) = collector.named("flush")
    spans = {span.attributes["relations.kind"]: span for span in collector.named("request")}
    assert {kind: span.parent for kind, span in spans.items()} == {
        "look_up": flushed.id,
        "changes": flushed.id,
        "drift": "",
    }
    assert spans["look_up"].links == spans["changes"].links == [link(7)]
    assert b"anna@example.test" not in b"".join(collector.bodies)


def test_spans_last_as_long_as_their_events_say_and_a_request_without_an_answer_is_an_error(
    collector: Collector,
) -> None:
    traces = Traces("here")
    emit = traces.follow(drop)
    for feedback in ("ok", "slow", "failed", "suspect"):
        emit("request.done", **request_done("f", feedback=feedback))
    emit("flush.done", **flush_done("f"))
    traces.close()
    assert [span.seconds for span in collector.named("flush")] == [1.5]
    assert {span.attributes["relations.feedback"]: span.is_error for span in collector.named("request")} == {
        "ok": False,
        "slow": False,
        "failed": True,
        "suspect": True,
    }


def test_a_span_has_no_more_links_than_a_request_names_calls(collector: Collector) -> None:
    traces = Traces("here")
    many = ["order-1", *map(traceparent, range(1, 2 * MAX_LINKS))]
    traces.follow(drop)("flush.done", **flush_done("f", correlations=many))
    traces.close()
    (span,) = collector.spans
    assert span.links == [link(number) for number in range(1, MAX_LINKS + 1)]


def test_flushes_that_never_end_keep_nothing_for_ever_and_lose_no_request(collector: Collector) -> None:
    traces = Traces("here")
    emit = traces.follow(drop)
    for number in range(MAX_FLUSHES + 3):
        emit("request.done", **request_done(str(number), correlations=[traceparent(9)]))
    traces.close()
    assert [(span.attributes["relations.flush"], span.parent, span.links) for span in collector.spans] == [
        (str(number), "", [link(9)]) for number in range(3)
    ]


def test_a_body_is_a_child_of_its_callers_span_and_as_it_sampled(collector: Collector) -> None:
    traces = Traces("here")
    for headers in ({"traceparent": traceparent(7)}, {}, {"traceparent": traceparent(8, flags="00")}):
        traces.note_body("/v1/changes", 202, time.time_ns(), headers)
    traces.close()
    child, root = collector.spans
    assert (child.name, (child.trace, child.parent)) == ("POST /v1/changes", link(7))
    assert (root.trace != child.trace, root.parent) == (True, "")


def test_a_header_that_is_none_is_named_but_never_logged(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization Basic aHVudGVyMg")
    Traces("here").close()
    assert "OTEL_EXPORTER_OTLP_HEADERS" in caplog.text
    assert "aHVudGVyMg" not in caplog.text


def test_variables_that_cannot_be_used_cost_the_spans_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    events: list[tuple[str, str]] = []

    def emit(event: str, /, **fields: object) -> None:
        events.append((event, str(fields["error"])))

    assert open_traces(Settings(traces="otlp"), service="here", emit=emit) is None
    ((event, error),) = events
    assert event == "traces.refused"
    assert "max_queue_size" in error


@pytest.fixture(params=["refuses", "hangs"])
def dead_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield REFUSING if request.param == "refuses" else f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_dead_collector_slows_nothing_and_the_end_waits_no_longer_than_it_may(
    dead_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", dead_url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")  # seconds, for each of four batches
    others = set(threading.enumerate())
    traces = Traces("here")
    emit = traces.follow(drop)
    started = time.monotonic()
    for number in range(3000):  # more than the queue holds
        emit("flush.done", **flush_done(str(number)))
    traces.close(0.1)
    assert time.monotonic() - started < 5
    is_refused = dead_url == REFUSING
    assert is_refused or "traces" in {thread.name for thread in threading.enumerate()}  # it still tries
    emit("flush.done", **flush_done("late"))
    assert all(record.levelname in ("INFO", "WARNING") for record in caplog.records)
    # What still tries draws its pauses from `random`, which other tests may not see.
    wait_until(lambda: set(threading.enumerate()) <= others, threading.enumerate)
